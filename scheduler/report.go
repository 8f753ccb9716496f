package scheduler

import (
	"context"
	"encoding/json"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// reportUnschedulable tells a pod's owner why it has no node: as an event, and as the pod's condition
// PodScheduled when that says something else.
func (s *Scheduler) reportUnschedulable(ctx context.Context, pod *corev1.Pod, message string) {
	s.recorder.Event(pod, corev1.EventTypeWarning, "FailedScheduling", message)
	condition := corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable,
		Message: message, LastTransitionTime: metav1.NewTime(s.options.Clock.Now()),
	}
	for _, before := range pod.Status.Conditions {
		if before.Type != condition.Type || before.Status != condition.Status {
			continue
		}
		if before.Reason == condition.Reason && before.Message == message {
			return
		}
		condition.LastTransitionTime = before.LastTransitionTime
	}
	s.send(ctx, func() {
		err := s.patchCondition(ctx, pod, condition)
		if err != nil && ctx.Err() == nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			s.options.Logger.Warn("a pod's condition could not be written", "pod", pod.Namespace+"/"+pod.Name, "error", err)
		}
	})
}

// patchCondition sets a condition of this very pod, not of another that has got its name.
func (s *Scheduler) patchCondition(ctx context.Context, pod *corev1.Pod, condition corev1.PodCondition) error {
	patch, err := json.Marshal(map[string]any{
		"metadata": map[string]any{"uid": pod.UID},
		"status":   map[string]any{"conditions": []corev1.PodCondition{condition}},
	})
	if err != nil {
		return err
	}
	_, err = s.pods.Patch(ctx, pod.Namespace, pod.Name, "status", types.StrategicMergePatchType, patch)
	return err
}
