package pods

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// A command that isn't there is a run that ended with a start error, in the pod's phase as in its restarts.
func TestMissingCommandEndsItsRun(t *testing.T) {
	startError := func(s *corev1.ContainerStateTerminated, message string) bool {
		return s != nil && s.ExitCode == 128 && s.Reason == "StartError" && s.Message == message && !s.StartedAt.IsZero() && !s.FinishedAt.IsZero()
	}
	const message = `exec: "/no/such": no such file or directory`
	b := newBench(t)
	b.runtime.startError = message
	b.create(newPod("once", corev1.RestartPolicyNever, "main"))
	once := b.status("once", "failed", func(pod *corev1.Pod) bool { return pod.Status.Phase == corev1.PodFailed })
	s := once.Status.ContainerStatuses[0]
	if !startError(s.State.Terminated, message) || s.State.Waiting != nil || s.RestartCount != 0 || s.LastTerminationState.Terminated != nil {
		t.Errorf("status %+v", s)
	}
	b.create(newPod("again", corev1.RestartPolicyAlways, "loops"))
	b.status("again", "backing off", func(pod *corev1.Pod) bool {
		reason, _ := waitingReason(pod)
		return reason == "CrashLoopBackOff" && pod.Status.ContainerStatuses[0].RestartCount == 1 &&
			startError(pod.Status.ContainerStatuses[0].LastTerminationState.Terminated, message)
	})
}
