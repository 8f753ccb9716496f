package pods

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

func deadlineExceeded(pod *corev1.Pod) bool {
	return pod != nil && pod.Status.Phase == corev1.PodFailed && pod.Status.Reason == "DeadlineExceeded" &&
		pod.Status.Message == "Pod was active on the node longer than the specified deadline"
}

// A pod fails when its deadline passes, once its containers have ended within their grace, and for no other reason
// though they ended well.
func TestActiveDeadline(t *testing.T) {
	for _, policy := range []corev1.RestartPolicy{corev1.RestartPolicyAlways, corev1.RestartPolicyNever} {
		b := newBench(t)
		b.runtime.stubborn = true
		pod := newPod("p", policy, "main")
		pod.Spec.ActiveDeadlineSeconds, pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](60), ptr.To[int64](7)
		pod = b.create(pod)
		b.runtime.until(t, "a run", func() bool { return b.runtime.runs("main", 0) })
		b.status("p", "running", func(pod *corev1.Pod) bool { return pod.Status.Phase == corev1.PodRunning })
		b.clock.Step(59 * time.Second)
		b.runtime.looked(t, b.manager, pod)
		b.runtime.mu.Lock()
		early := len(b.runtime.stops)
		b.runtime.mu.Unlock()
		if early > 0 {
			t.Fatal("stopped before its time")
		}
		b.clock.Step(time.Second)
		b.runtime.until(t, "a stop with the pod's grace", func() bool { return len(b.runtime.stops) == 1 && b.runtime.stops[0] == 7 })
		b.runtime.looked(t, b.manager, pod)
		if got := b.status("p", "there", func(pod *corev1.Pod) bool { return pod != nil }); got.Status.Phase != corev1.PodRunning {
			t.Errorf("the pod is %s while it ends", got.Status.Phase)
		}
		b.runtime.exit(t, "main", 0)
		got := b.status("p", "failed for its deadline", deadlineExceeded)
		if s := got.Status.ContainerStatuses[0].State.Terminated; s == nil || s.ExitCode != 0 {
			t.Errorf("container %+v", got.Status.ContainerStatuses[0].State)
		}
		b.runtime.looked(t, b.manager, pod)
		b.status("p", "still failed for its deadline", deadlineExceeded)
		b.stop()
	}
}

// The deadline goes on while no agent runs, also in the middle of the pod's end.
func TestActiveDeadlineSurvivesTheAgent(t *testing.T) {
	b := newBench(t)
	pod := newPod("p", corev1.RestartPolicyNever, "main")
	pod.Spec.ActiveDeadlineSeconds = ptr.To[int64](60)
	b.create(pod)
	b.runtime.until(t, "a run", func() bool { return b.runtime.runs("main", 0) })
	b.status("p", "running", func(pod *corev1.Pod) bool { return pod.Status.Phase == corev1.PodRunning })
	b.stop()
	b.clock.Step(61 * time.Second)
	b.runtime.exit(t, "main", 0) // as the stop of the agent that went away has it
	b.start()
	b.status("p", "failed for its deadline", deadlineExceeded)
}

// A pod that had ended by itself before its deadline has succeeded, whenever that is noticed.
func TestActiveDeadlineComesTooLate(t *testing.T) {
	b := newBench(t)
	pod := newPod("p", corev1.RestartPolicyNever, "main")
	pod.Spec.ActiveDeadlineSeconds = ptr.To[int64](60)
	b.create(pod)
	b.runtime.until(t, "a run", func() bool { return b.runtime.runs("main", 0) })
	b.status("p", "running", func(pod *corev1.Pod) bool { return pod.Status.Phase == corev1.PodRunning })
	b.stop()
	b.clock.Step(30 * time.Second)
	b.runtime.exit(t, "main", 0)
	b.clock.Step(100 * time.Second)
	b.start()
	b.status("p", "succeeded", func(pod *corev1.Pod) bool { return pod.Status.Phase == corev1.PodSucceeded })
}
