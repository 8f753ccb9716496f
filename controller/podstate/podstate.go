// Package podstate answers what controllers ask about a pod's state.
package podstate

import (
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Active tells whether a pod runs or may yet run: it hasn't ended and isn't going away.
func Active(pod *corev1.Pod) bool {
	return !Ended(pod) && pod.DeletionTimestamp == nil
}

// Ended tells whether a pod's containers have run for the last time.
func Ended(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// Condition finds a condition of a pod; nil when it has none of the type.
func Condition(pod *corev1.Pod, kind corev1.PodConditionType) *corev1.PodCondition {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == kind {
			return &pod.Status.Conditions[i]
		}
	}
	return nil
}

// Ready tells whether a pod is to get traffic.
func Ready(pod *corev1.Pod) bool {
	ready := Condition(pod, corev1.PodReady)
	return ready != nil && ready.Status == corev1.ConditionTrue
}

// Available tells whether a pod has been ready for minReady without a break. If it is ready but hasn't been for
// long enough, wait is what is missing.
func Available(pod *corev1.Pod, minReady time.Duration, now time.Time) (available bool, wait time.Duration) {
	ready := Condition(pod, corev1.PodReady)
	if ready == nil || ready.Status != corev1.ConditionTrue {
		return false, 0
	}
	if minReady == 0 {
		return true, 0
	}
	if ready.LastTransitionTime.IsZero() {
		return false, minReady
	}
	wait = ready.LastTransitionTime.Add(minReady).Sub(now)
	if wait <= 0 {
		return true, 0
	}
	return false, wait
}
