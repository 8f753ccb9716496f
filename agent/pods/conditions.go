package pods

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

// conditions are the pod's conditions with the node's own brought up to date; those of others stay.
func conditions(pod *corev1.Pod, status *corev1.PodStatus, initialized bool, now time.Time) []corev1.PodCondition {
	out := append([]corev1.PodCondition{}, pod.Status.Conditions...)
	set := func(kind corev1.PodConditionType, holds bool, reason, message string) {
		next := corev1.PodCondition{Type: kind, Status: corev1.ConditionFalse, Reason: reason, Message: message, LastTransitionTime: *stamp(now), ObservedGeneration: pod.Generation}
		if holds {
			next.Status, next.Reason, next.Message = corev1.ConditionTrue, "", ""
		}
		for i := range out {
			if out[i].Type == kind {
				if out[i].Status == next.Status {
					next.LastTransitionTime = out[i].LastTransitionTime
				}
				out[i] = next
				return
			}
		}
		out = append(out, next)
	}
	succeeded := status.Phase == corev1.PodSucceeded
	set(corev1.PodReadyToStartContainers, status.PodIP != "" && status.Phase == corev1.PodRunning || status.PodIP != "" && status.Phase == corev1.PodPending, "", "")
	set(corev1.PodInitialized, initialized, "ContainersNotInitialized", "containers with incomplete status: "+names(status.InitContainerStatuses))
	unready := unreadyContainers(pod, status)
	reason, message := "ContainersNotReady", fmt.Sprintf("containers with unready status: [%s]", strings.Join(unready, " "))
	if succeeded {
		reason, message = "PodCompleted", ""
	}
	ready := len(unready) == 0 && !succeeded && status.Phase != corev1.PodFailed && initialized
	set(corev1.ContainersReady, ready, reason, message)
	gate := unmetGate(pod)
	if ready && gate != "" {
		reason, message = "ReadinessGatesNotReady", fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist or is not True.", gate)
	}
	set(corev1.PodReady, ready && gate == "", reason, message)
	set(corev1.PodScheduled, true, "", "")
	return out
}

func names(statuses []corev1.ContainerStatus) string {
	var list []string
	for _, s := range statuses {
		if !s.Ready && !ptr.Deref(s.Started, false) {
			list = append(list, s.Name)
		}
	}
	return "[" + strings.Join(list, " ") + "]"
}

func unreadyContainers(pod *corev1.Pod, status *corev1.PodStatus) []string {
	var list []string
	for i := range status.InitContainerStatuses {
		if sidecar(&pod.Spec.InitContainers[i]) && !status.InitContainerStatuses[i].Ready {
			list = append(list, status.InitContainerStatuses[i].Name)
		}
	}
	for _, s := range status.ContainerStatuses {
		if !s.Ready {
			list = append(list, s.Name)
		}
	}
	return list
}

// unmetGate is the first readiness gate of the pod whose condition does not hold; empty when all do.
func unmetGate(pod *corev1.Pod) string {
	for _, gate := range pod.Spec.ReadinessGates {
		met := false
		for _, c := range pod.Status.Conditions {
			met = met || c.Type == gate.ConditionType && c.Status == corev1.ConditionTrue
		}
		if !met {
			return string(gate.ConditionType)
		}
	}
	return ""
}
