package printing

import (
	"fmt"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var podColumns = []metav1.TableColumnDefinition{
	nameColumn,
	text("Ready", "How many of the pod's containers are ready to serve, of how many."),
	text("Status", "Where the pod is in its life, and what keeps it from going on."),
	text("Restarts", "How often containers of this pod were restarted, and when the last one was."),
	ageColumn,
	wide(text("IP", corev1.PodStatus{}.SwaggerDoc()["podIP"])),
	wide(text("Node", corev1.PodSpec{}.SwaggerDoc()["nodeName"])),
	wide(text("Nominated Node", corev1.PodStatus{}.SwaggerDoc()["nominatedNodeName"])),
	wide(text("Readiness Gates", corev1.PodSpec{}.SwaggerDoc()["readinessGates"])),
}

func podRow(now time.Time, pod *corev1.Pod) metav1.TableRow {
	s := summarize(pod)
	r := row(
		pod.Name,
		fmt.Sprintf("%d/%d", s.ready, s.total),
		s.reason,
		s.restarts.since(now),
		since(now, pod.CreationTimestamp.Time),
		podIP(pod),
		orElse(pod.Spec.NodeName, none),
		orElse(pod.Status.NominatedNodeName, none),
		readinessGates(pod),
	)
	switch pod.Status.Phase {
	case corev1.PodSucceeded:
		r.Conditions = completed("Succeeded", "The pod has completed successfully.")
	case corev1.PodFailed:
		r.Conditions = completed("Failed", "The pod failed.")
	}
	return r
}

// completed marks a row whose object has run to its end.
func completed(reason, message string) []metav1.TableRowCondition {
	return []metav1.TableRowCondition{{
		Type: metav1.RowCompleted, Status: metav1.ConditionTrue, Reason: reason, Message: message,
	}}
}

func podIP(pod *corev1.Pod) string {
	if len(pod.Status.PodIPs) > 0 {
		return orElse(pod.Status.PodIPs[0].IP, none)
	}
	return orElse(pod.Status.PodIP, none)
}

func readinessGates(pod *corev1.Pod) string {
	if len(pod.Spec.ReadinessGates) == 0 {
		return none
	}
	open := 0
	for _, gate := range pod.Spec.ReadinessGates {
		if podCondition(pod, gate.ConditionType) {
			open++
		}
	}
	return fmt.Sprintf("%d/%d", open, len(pod.Spec.ReadinessGates))
}

func podCondition(pod *corev1.Pod, kind corev1.PodConditionType) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == kind {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// restarts counts restarts and remembers when the last one was.
type restarts struct {
	count int
	last  time.Time
}

func (r *restarts) add(status *corev1.ContainerStatus) {
	r.count += int(status.RestartCount)
	if ended := status.LastTerminationState.Terminated; ended != nil && r.last.Before(ended.FinishedAt.Time) {
		r.last = ended.FinishedAt.Time
	}
}

func (r restarts) since(now time.Time) string {
	if r.count == 0 || r.last.IsZero() {
		return strconv.Itoa(r.count)
	}
	return fmt.Sprintf("%d (%s ago)", r.count, since(now, r.last))
}
