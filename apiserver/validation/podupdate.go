package validation

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/diff"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// mutable tells what of a pod may change while it is there.
const mutable = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`," +
	"`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations)," +
	"`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\n"

// validatePodUpdate holds a pod to what it was started as. Binding to a node is not an update.
func validatePodUpdate(pod, old *corev1.Pod) field.ErrorList {
	path := field.NewPath("spec")
	errs := validatePodSpec(&pod.Spec, path)
	if len(pod.Spec.Containers) != len(old.Spec.Containers) {
		return append(errs, field.Forbidden(path.Child("containers"), "pod updates may not add or remove containers"))
	}
	if len(pod.Spec.InitContainers) != len(old.Spec.InitContainers) {
		return append(errs, field.Forbidden(path.Child("initContainers"), "pod updates may not add or remove containers"))
	}
	errs = append(errs, validateDeadlineUpdate(pod.Spec.ActiveDeadlineSeconds, old.Spec.ActiveDeadlineSeconds, path.Child("activeDeadlineSeconds"))...)
	errs = append(errs, validateAddedTolerations(pod.Spec.Tolerations, old.Spec.Tolerations, path.Child("tolerations"))...)
	errs = append(errs, validateGatesUpdate(pod.Spec.SchedulingGates, old.Spec.SchedulingGates, path.Child("schedulingGates"))...)

	// What is left must be the same once everything that may change is put back.
	restored := pod.Spec.DeepCopy()
	for i := range restored.Containers {
		restored.Containers[i].Image = old.Spec.Containers[i].Image
	}
	for i := range restored.InitContainers {
		restored.InitContainers[i].Image = old.Spec.InitContainers[i].Image
	}
	restored.ActiveDeadlineSeconds = old.Spec.ActiveDeadlineSeconds
	restored.Tolerations = old.Spec.Tolerations
	restored.SchedulingGates = old.Spec.SchedulingGates
	if was, is := old.Spec.TerminationGracePeriodSeconds, pod.Spec.TerminationGracePeriodSeconds; was != nil && *was < 0 && is != nil && *is == 1 {
		restored.TerminationGracePeriodSeconds = was
	}
	if !equality.Semantic.DeepEqual(restored, &old.Spec) {
		errs = append(errs, field.Forbidden(path, mutable+diff.Diff(&old.Spec, restored)))
	}
	return errs
}

// validateDeadlineUpdate lets a deadline be set or brought nearer.
func validateDeadlineUpdate(is, was *int64, path *field.Path) field.ErrorList {
	switch {
	case is == nil && was != nil:
		return field.ErrorList{field.Invalid(path, nil, "must not update from a positive integer to nil value")}
	case is != nil && was != nil && *is > *was:
		return field.ErrorList{field.Invalid(path, *is, "must be less than or equal to previous value")}
	}
	return nil
}

// validateAddedTolerations lets tolerations be added, and the time of those that are there be changed.
func validateAddedTolerations(is, was []corev1.Toleration, path *field.Path) field.ErrorList {
	for _, old := range was {
		kept := slices.ContainsFunc(is, func(t corev1.Toleration) bool {
			t.TolerationSeconds, old.TolerationSeconds = nil, nil
			return t == old
		})
		if !kept {
			return field.ErrorList{field.Forbidden(path, "existing toleration can not be modified except its tolerationSeconds")}
		}
	}
	return nil
}

// validateGatesUpdate lets scheduling gates be opened, not added.
func validateGatesUpdate(is, was []corev1.PodSchedulingGate, path *field.Path) field.ErrorList {
	for i, gate := range is {
		if !slices.Contains(was, gate) {
			return field.ErrorList{field.Forbidden(path.Index(i), "only deletion is allowed, but found new scheduling gate '"+gate.Name+"'")}
		}
	}
	return nil
}

func validatePodStatusUpdate(pod, old *corev1.Pod) field.ErrorList {
	var errs field.ErrorList
	path := field.NewPath("status")
	if pod.Spec.NodeName != old.Spec.NodeName {
		errs = append(errs, field.Forbidden(path.Child("nodeName"), "may not be changed directly"))
	}
	if policy := pod.Spec.RestartPolicy; policy != corev1.RestartPolicyAlways {
		errs = append(errs, validateStaysEnded(pod.Status.ContainerStatuses, old.Status.ContainerStatuses, policy, path.Child("containerStatuses"))...)
	}
	for i, ip := range pod.Status.PodIPs {
		errs = append(errs, validateIP(ip.IP, path.Child("podIPs").Index(i))...)
	}
	return errs
}

// validateStaysEnded refuses to bring a container back that its pod's policy lets end for good.
func validateStaysEnded(is, was []corev1.ContainerStatus, policy corev1.RestartPolicy, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for i := range was {
		ended := was[i].State.Terminated
		if ended == nil || (ended.ExitCode != 0 && policy == corev1.RestartPolicyOnFailure) {
			continue
		}
		for j := range is {
			if is[j].Name == was[i].Name && is[j].State.Terminated == nil {
				errs = append(errs, field.Forbidden(path.Index(j).Child("state"), "may not be transitioned to non-terminated state"))
			}
		}
	}
	return errs
}
