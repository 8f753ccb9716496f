package pods

import (
	"errors"
	"log/slog"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/record"
	clocktesting "k8s.io/utils/clock/testing"
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

// TestOnlyPullsBackOffMoreAndMore: a container whose image was loaded, or whose ConfigMap was created, after some failed starts
// waited for up to five minutes.
func TestOnlyPullsBackOffMoreAndMore(t *testing.T) {
	for reason, want := range map[string]time.Duration{
		"ErrImagePull": 80 * time.Second, "ErrImageNeverPull": 10 * time.Second, "CreateContainerConfigError": 10 * time.Second,
	} {
		clock := clocktesting.NewFakeClock(time.Unix(0, 0))
		pod := newPod("p", corev1.RestartPolicyAlways, "main")
		m := &Manager{clock: clock, log: slog.New(slog.DiscardHandler), cfg: Config{Events: record.NewFakeRecorder(10)}}
		w := newWorker(t.Context(), m, pod, false)
		for range 4 {
			w.failed(pod, &pod.Spec.Containers[0], reason, errors.New("missing"))
		}
		if got := w.starts["main"].remaining(clock.Now()); got != want {
			t.Errorf("%s: the next start waits for %s, want %s", reason, got, want)
		}
	}
}
