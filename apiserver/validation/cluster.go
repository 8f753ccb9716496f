package validation

import (
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateNamespace(ns *corev1.Namespace) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("spec", "finalizers")
	for i, name := range ns.Spec.Finalizers {
		for _, message := range validation.IsQualifiedName(string(name)) {
			errs = append(errs, field.Invalid(path.Index(i), name, message))
		}
	}
	return errs
}

// validateNamespaceStatusUpdate keeps the phase and the deletion mark in step.
func validateNamespaceStatusUpdate(ns, _ *corev1.Namespace) field.ErrorList {
	path := field.NewPath("status", "phase")
	if ns.DeletionTimestamp == nil && ns.Status.Phase != corev1.NamespaceActive {
		return field.ErrorList{field.Invalid(path, ns.Status.Phase, "may only be 'Active' if `deletionTimestamp` is empty")}
	}
	if ns.DeletionTimestamp != nil && ns.Status.Phase != corev1.NamespaceTerminating {
		return field.ErrorList{field.Invalid(path, ns.Status.Phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")}
	}
	return nil
}

func validateNode(node *corev1.Node) field.ErrorList {
	path := field.NewPath("spec")
	errs := validateTaints(node.Spec.Taints, path.Child("taints"))
	for i, cidr := range node.Spec.PodCIDRs {
		errs = append(errs, validation.IsValidCIDRForLegacyField(path.Child("podCIDRs").Index(i), cidr, true, nil)...)
	}
	if len(node.Spec.PodCIDRs) > 0 && node.Spec.PodCIDR != node.Spec.PodCIDRs[0] {
		errs = append(errs, field.Invalid(path.Child("podCIDRs").Index(0), node.Spec.PodCIDRs[0], "must match `podCIDR`"))
	}
	return append(errs, validateNodeResources(&node.Status)...)
}

func validateNodeResources(status *corev1.NodeStatus) field.ErrorList {
	path := field.NewPath("status")
	errs := validateQuantities(status.Capacity, path.Child("capacity"))
	return append(errs, validateQuantities(status.Allocatable, path.Child("allocatable"))...)
}

func validateQuantities(list corev1.ResourceList, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for name, quantity := range sorted(list) {
		for _, message := range validation.IsQualifiedName(string(name)) {
			errs = append(errs, field.Invalid(path.Key(string(name)), name, message))
		}
		errs = append(errs, validateQuantity(name, quantity, path.Key(string(name)))...)
	}
	return errs
}

func validateTaints(taints []corev1.Taint, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	type identity struct {
		key    string
		effect corev1.TaintEffect
	}
	seen := map[identity]bool{}
	for i, taint := range taints {
		path := path.Index(i)
		errs = append(errs, metav1validation.ValidateLabelName(taint.Key, path.Child("key"))...)
		for _, message := range validation.IsValidLabelValue(taint.Value) {
			errs = append(errs, field.Invalid(path.Child("value"), taint.Value, message))
		}
		errs = append(errs, validateTaintEffect(taint.Effect, false, path.Child("effect"))...)
		id := identity{taint.Key, taint.Effect}
		if seen[id] {
			errs = append(errs, field.Duplicate(path, taint))
		}
		seen[id] = true
	}
	return errs
}

var taintEffects = []corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule, corev1.TaintEffectNoExecute}

func validateTaintEffect(effect corev1.TaintEffect, mayBeEmpty bool, path *field.Path) field.ErrorList {
	if effect == "" {
		if mayBeEmpty {
			return nil
		}
		return field.ErrorList{field.Required(path, "")}
	}
	return oneOf(effect, taintEffects, path)
}

func validateNodeUpdate(node, old *corev1.Node) field.ErrorList {
	path := field.NewPath("spec")
	errs := validateNode(node)
	if old.Spec.PodCIDR != "" && !equality.Semantic.DeepEqual(node.Spec.PodCIDRs, old.Spec.PodCIDRs) {
		errs = append(errs, field.Forbidden(path.Child("podCIDRs"), "node updates may not change podCIDR except from \"\" to valid"))
	}
	if old.Spec.ProviderID != "" && node.Spec.ProviderID != old.Spec.ProviderID {
		errs = append(errs, field.Forbidden(path.Child("providerID"), "node updates may not change providerID except from \"\" to valid"))
	}
	return errs
}

func validateNodeStatusUpdate(node, _ *corev1.Node) field.ErrorList {
	errs := validateNodeResources(&node.Status)
	path := field.NewPath("status", "addresses")
	seen := map[corev1.NodeAddress]bool{}
	for i, address := range node.Status.Addresses {
		if seen[address] {
			errs = append(errs, field.Duplicate(path.Index(i), address))
		}
		seen[address] = true
	}
	return errs
}

func validateLeaseSpec(spec *coordinationv1.LeaseSpec, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if seconds := spec.LeaseDurationSeconds; seconds != nil && *seconds <= 0 {
		errs = append(errs, field.Invalid(path.Child("leaseDurationSeconds"), *seconds, "must be greater than 0"))
	}
	if spec.HolderIdentity != nil && *spec.HolderIdentity == "" && spec.Strategy != nil {
		errs = append(errs, field.Invalid(path.Child("holderIdentity"), *spec.HolderIdentity, "must not be empty"))
	}
	if spec.PreferredHolder != nil && *spec.PreferredHolder != "" && (spec.Strategy == nil || *spec.Strategy == "") {
		errs = append(errs, field.Forbidden(path.Child("preferredHolder"), "may only be specified when `strategy` is defined"))
	}
	return append(errs, nonnegative(spec.LeaseTransitions, path.Child("leaseTransitions"))...)
}

func validateLeaseUpdate(lease, _ *coordinationv1.Lease) field.ErrorList {
	return validateLeaseSpec(&lease.Spec, field.NewPath("spec"))
}

// validateEvent checks that an event is where its object is, so that who may see the one may see the
// other. Events about cluster-scoped objects are in the namespace "default".
func validateEvent(event *corev1.Event) field.ErrorList {
	path := field.NewPath("involvedObject", "namespace")
	var errs field.ErrorList
	switch involved := event.InvolvedObject.Namespace; {
	case involved == "" && event.Namespace != "default" && event.Namespace != "kube-system":
		errs = append(errs, field.Invalid(path, involved, "does not match event.namespace"))
	case involved != "" && involved != event.Namespace:
		errs = append(errs, field.Invalid(path, involved, "does not match event.namespace"))
	}
	if event.EventTime.Time.Equal(time.Time{}) {
		return errs
	}
	return append(errs, validateReportedEvent(event)...)
}

// Limits on what reporters write into events, in characters.
const (
	maxReportingInstance = 128
	maxAction            = 128
	maxReason            = 128
	maxNote              = 1024
)

// validateReportedEvent checks what events of the newer reporting API must have.
func validateReportedEvent(event *corev1.Event) field.ErrorList {
	var errs field.ErrorList
	for _, required := range []struct {
		name, value string
		max         int
	}{
		{"reportingComponent", event.ReportingController, 0},
		{"reportingInstance", event.ReportingInstance, maxReportingInstance},
		{"action", event.Action, maxAction},
		{"reason", event.Reason, maxReason},
	} {
		path := field.NewPath(required.name)
		if required.value == "" {
			errs = append(errs, field.Required(path, ""))
		}
		if required.max > 0 && len(required.value) > required.max {
			errs = append(errs, field.TooLong(path, required.value, required.max))
		}
	}
	if event.ReportingController != "" {
		for _, message := range validation.IsQualifiedName(event.ReportingController) {
			errs = append(errs, field.Invalid(field.NewPath("reportingComponent"), event.ReportingController, message))
		}
	}
	if len(event.Message) > maxNote {
		errs = append(errs, field.TooLong(field.NewPath("message"), "", maxNote))
	}
	return errs
}

func validateEventUpdate(event, old *corev1.Event) field.ErrorList {
	errs := validateEvent(event)
	if old.EventTime.IsZero() {
		return errs
	}
	errs = append(errs, apivalidation.ValidateImmutableField(event.InvolvedObject, old.InvolvedObject, field.NewPath("involvedObject"))...)
	errs = append(errs, apivalidation.ValidateImmutableField(event.Reason, old.Reason, field.NewPath("reason"))...)
	errs = append(errs, apivalidation.ValidateImmutableField(event.Type, old.Type, field.NewPath("type"))...)
	return append(errs, apivalidation.ValidateImmutableField(event.Message, old.Message, field.NewPath("message"))...)
}
