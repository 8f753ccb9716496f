package validation

import (
	"strconv"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateDeployment(d *appsv1.Deployment) field.ErrorList {
	path := field.NewPath("spec")
	spec := &d.Spec
	errs := nonnegative(spec.Replicas, path.Child("replicas"))
	errs = append(errs, validateWorkloadSelector(spec.Selector, &spec.Template, "deployment", path)...)
	errs = append(errs, validateTemplate(&spec.Template, path.Child("template"))...)
	errs = append(errs, validateStrategy(&spec.Strategy, path.Child("strategy"))...)
	errs = append(errs, apivalidation.ValidateNonnegativeField(int64(spec.MinReadySeconds), path.Child("minReadySeconds"))...)
	errs = append(errs, nonnegative(spec.RevisionHistoryLimit, path.Child("revisionHistoryLimit"))...)
	if deadline := spec.ProgressDeadlineSeconds; deadline != nil {
		errs = append(errs, nonnegative(deadline, path.Child("progressDeadlineSeconds"))...)
		if *deadline <= spec.MinReadySeconds {
			errs = append(errs, field.Invalid(path.Child("progressDeadlineSeconds"), *deadline, "must be greater than minReadySeconds"))
		}
	}
	return errs
}

func validateDeploymentUpdate(d, old *appsv1.Deployment) field.ErrorList {
	return append(validateDeployment(d),
		apivalidation.ValidateImmutableField(d.Spec.Selector, old.Spec.Selector, field.NewPath("spec", "selector"))...)
}

func validateReplicaSet(rs *appsv1.ReplicaSet) field.ErrorList {
	path := field.NewPath("spec")
	spec := &rs.Spec
	errs := nonnegative(spec.Replicas, path.Child("replicas"))
	errs = append(errs, apivalidation.ValidateNonnegativeField(int64(spec.MinReadySeconds), path.Child("minReadySeconds"))...)
	errs = append(errs, validateWorkloadSelector(spec.Selector, &spec.Template, "replicaset", path)...)
	return append(errs, validateTemplate(&spec.Template, path.Child("template"))...)
}

func validateReplicaSetUpdate(rs, old *appsv1.ReplicaSet) field.ErrorList {
	return append(validateReplicaSet(rs),
		apivalidation.ValidateImmutableField(rs.Spec.Selector, old.Spec.Selector, field.NewPath("spec", "selector"))...)
}

// validateTemplate checks a template of pods that are replaced when they end: they must restart and
// they must not be given a lifetime.
func validateTemplate(template *corev1.PodTemplateSpec, path *field.Path) field.ErrorList {
	errs := validateTemplateMeta(template, path.Child("metadata"))
	errs = append(errs, validatePodSpec(&template.Spec, path.Child("spec"))...)
	if len(template.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(path.Child("spec", "ephemeralContainers"), "ephemeral containers not allowed in pod template"))
	}
	if policy := template.Spec.RestartPolicy; policy != corev1.RestartPolicyAlways {
		errs = append(errs, field.NotSupported(path.Child("spec", "restartPolicy"), policy, []corev1.RestartPolicy{corev1.RestartPolicyAlways}))
	}
	if template.Spec.ActiveDeadlineSeconds != nil {
		errs = append(errs, field.Forbidden(path.Child("spec", "activeDeadlineSeconds"), "activeDeadlineSeconds in ReplicaSet is not Supported"))
	}
	return errs
}

func validateStrategy(strategy *appsv1.DeploymentStrategy, path *field.Path) field.ErrorList {
	switch strategy.Type {
	case appsv1.RecreateDeploymentStrategyType:
		if strategy.RollingUpdate != nil {
			return field.ErrorList{field.Forbidden(path.Child("rollingUpdate"), "may not be specified when strategy `type` is '"+string(strategy.Type)+"'")}
		}
		return nil
	case appsv1.RollingUpdateDeploymentStrategyType:
		if strategy.RollingUpdate == nil {
			return field.ErrorList{field.Required(path.Child("rollingUpdate"), "this should be defaulted and never be nil")}
		}
		return validateRollingUpdate(strategy.RollingUpdate, path.Child("rollingUpdate"))
	default:
		return field.ErrorList{field.NotSupported(path.Child("type"), strategy.Type,
			[]appsv1.DeploymentStrategyType{appsv1.RecreateDeploymentStrategyType, appsv1.RollingUpdateDeploymentStrategyType})}
	}
}

// validateRollingUpdate makes sure that a roll-out can move: pods may be missing or there may be more.
func validateRollingUpdate(rolling *appsv1.RollingUpdateDeployment, path *field.Path) field.ErrorList {
	errs := validateIntOrPercent(rolling.MaxUnavailable, path.Child("maxUnavailable"))
	errs = append(errs, validateIntOrPercent(rolling.MaxSurge, path.Child("maxSurge"))...)
	if amount(rolling.MaxUnavailable) == 0 && amount(rolling.MaxSurge) == 0 {
		errs = append(errs, field.Invalid(path.Child("maxUnavailable"), rolling.MaxUnavailable, "may not be 0 when `maxSurge` is 0"))
	}
	if percent, ok := percentage(rolling.MaxUnavailable); ok && percent > 100 {
		errs = append(errs, field.Invalid(path.Child("maxUnavailable"), rolling.MaxUnavailable, "must not be greater than 100%"))
	}
	return errs
}

func validateIntOrPercent(value *intstr.IntOrString, path *field.Path) field.ErrorList {
	if value == nil {
		return nil
	}
	if value.Type == intstr.Int {
		return apivalidation.ValidateNonnegativeField(int64(value.IntVal), path)
	}
	var errs field.ErrorList
	for _, message := range validation.IsValidPercent(value.StrVal) {
		errs = append(errs, field.Invalid(path, value, message))
	}
	return errs
}

// amount is the number, or the percentage's number: what it is a percentage of does not matter for zero.
func amount(value *intstr.IntOrString) int {
	if value == nil {
		return 0
	}
	if percent, ok := percentage(value); ok {
		return percent
	}
	return int(value.IntVal)
}

func percentage(value *intstr.IntOrString) (percent int, ok bool) {
	if value == nil || value.Type != intstr.String || len(validation.IsValidPercent(value.StrVal)) > 0 {
		return 0, false
	}
	percent, err := strconv.Atoi(strings.TrimSuffix(value.StrVal, "%"))
	return percent, err == nil
}

// nonnegative refuses a number below zero; one that is absent passes.
func nonnegative[T int32 | int64](value *T, path *field.Path) field.ErrorList {
	if value == nil {
		return nil
	}
	return apivalidation.ValidateNonnegativeField(int64(*value), path)
}

func validateDeploymentStatusUpdate(d, old *appsv1.Deployment) field.ErrorList {
	path, s := field.NewPath("status"), &d.Status
	errs := apivalidation.ValidateNonnegativeField(s.ObservedGeneration, path.Child("observedGeneration"))
	errs = append(errs, apivalidation.ValidateNonnegativeField(int64(s.Replicas), path.Child("replicas"))...)
	errs = append(errs, atMost(s.UpdatedReplicas, s.Replicas, path.Child("updatedReplicas"), "status.replicas")...)
	errs = append(errs, atMost(s.ReadyReplicas, s.Replicas, path.Child("readyReplicas"), "status.replicas")...)
	errs = append(errs, atMost(s.AvailableReplicas, s.ReadyReplicas, path.Child("availableReplicas"), "readyReplicas")...)
	errs = append(errs, nonnegative(s.CollisionCount, path.Child("collisionCount"))...)
	if was, is := old.Status.CollisionCount, s.CollisionCount; was != nil && (is == nil || *is < *was) {
		errs = append(errs, field.Invalid(path.Child("collisionCount"), is, "cannot be decremented"))
	}
	return errs
}

func validateReplicaSetStatusUpdate(rs, _ *appsv1.ReplicaSet) field.ErrorList {
	path, s := field.NewPath("status"), &rs.Status
	errs := apivalidation.ValidateNonnegativeField(s.ObservedGeneration, path.Child("observedGeneration"))
	errs = append(errs, apivalidation.ValidateNonnegativeField(int64(s.Replicas), path.Child("replicas"))...)
	errs = append(errs, atMost(s.FullyLabeledReplicas, s.Replicas, path.Child("fullyLabeledReplicas"), "status.replicas")...)
	errs = append(errs, atMost(s.ReadyReplicas, s.Replicas, path.Child("readyReplicas"), "status.replicas")...)
	return append(errs, atMost(s.AvailableReplicas, s.ReadyReplicas, path.Child("availableReplicas"), "readyReplicas")...)
}

// atMost refuses a count below zero or above another one.
func atMost(count, limit int32, path *field.Path, limitName string) field.ErrorList {
	errs := apivalidation.ValidateNonnegativeField(int64(count), path)
	if count > limit {
		errs = append(errs, field.Invalid(path, count, "cannot be greater than "+limitName))
	}
	return errs
}
