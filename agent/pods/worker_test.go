package pods

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/client"
)

func waitingReason(pod *corev1.Pod) (reason, message string) {
	if pod == nil || len(pod.Status.ContainerStatuses) == 0 || pod.Status.ContainerStatuses[0].State.Waiting == nil {
		return "", ""
	}
	w := pod.Status.ContainerStatuses[0].State.Waiting
	return w.Reason, w.Message
}

func TestCrashLoopBackOffGrowsAndIsForgotten(t *testing.T) {
	b := newBench(t)
	pod := b.create(newPod("p", corev1.RestartPolicyAlways, "main"))
	b.runtime.until(t, "first run", func() bool { return b.runtime.runs("main", 0) })
	// The first restart comes at once.
	b.runtime.exit(t, "main", 1)
	b.runtime.until(t, "second run", func() bool { return b.runtime.runs("main", 1) })
	attempt := uint32(1)
	for _, delay := range []time.Duration{10 * time.Second, 20 * time.Second, 40 * time.Second, 80 * time.Second, 160 * time.Second, 5 * time.Minute, 5 * time.Minute} {
		b.runtime.exit(t, "main", 1)
		b.status("p", "backing off "+delay.String(), func(pod *corev1.Pod) bool {
			reason, message := waitingReason(pod)
			return reason == "CrashLoopBackOff" && strings.HasPrefix(message, "back-off "+delay.String()+" ")
		})
		b.clock.Step(delay - time.Second)
		b.runtime.looked(t, b.manager, pod)
		b.runtime.mu.Lock()
		early := b.runtime.runs("main", attempt+1)
		b.runtime.mu.Unlock()
		if early {
			t.Fatalf("run %d started before its time", attempt+1)
		}
		b.clock.Step(time.Second)
		attempt++
		b.runtime.until(t, "the next run", func() bool { return b.runtime.runs("main", attempt) })
	}
	got := b.status("p", "running", func(pod *corev1.Pod) bool { return pod.Status.ContainerStatuses[0].State.Running != nil })
	if s := got.Status.ContainerStatuses[0]; s.RestartCount != int32(attempt) || s.LastTerminationState.Terminated == nil {
		t.Errorf("status %+v", s)
	}
	// A run of ten minutes makes good for what was before.
	b.clock.Step(11 * time.Minute)
	b.runtime.exit(t, "main", 1)
	b.runtime.until(t, "a run at once", func() bool { return b.runtime.runs("main", attempt+1) })
}

func TestRestartPolicies(t *testing.T) {
	for _, c := range []struct {
		policy   corev1.RestartPolicy
		code     int32
		restarts bool
		phase    corev1.PodPhase
	}{
		{corev1.RestartPolicyAlways, 0, true, corev1.PodRunning},
		{corev1.RestartPolicyOnFailure, 1, true, corev1.PodRunning},
		{corev1.RestartPolicyOnFailure, 0, false, corev1.PodSucceeded},
		{corev1.RestartPolicyNever, 0, false, corev1.PodSucceeded},
		{corev1.RestartPolicyNever, 3, false, corev1.PodFailed},
	} {
		b := newBench(t)
		b.create(newPod("p", c.policy, "main"))
		b.runtime.until(t, "the first run", func() bool { return b.runtime.runs("main", 0) })
		b.runtime.exit(t, "main", c.code)
		if c.restarts {
			b.runtime.until(t, "a restart", func() bool { return b.runtime.runs("main", 1) })
		}
		pod := b.status("p", string(c.phase), func(pod *corev1.Pod) bool { return pod.Status.Phase == c.phase })
		if !c.restarts {
			if s := pod.Status.ContainerStatuses[0].State.Terminated; s == nil || s.ExitCode != c.code {
				t.Errorf("%s %d: %+v", c.policy, c.code, pod.Status.ContainerStatuses[0])
			}
			b.status("p", "not ready", func(pod *corev1.Pod) bool { return !condition(pod, corev1.PodReady) })
		}
	}
}

func TestInitContainersComeFirstAndInOrder(t *testing.T) {
	b := newBench(t)
	pod := newPod("p", corev1.RestartPolicyAlways, "main")
	pod.Spec.InitContainers = []corev1.Container{
		{Name: "one", Image: "i:1"}, {Name: "side", Image: "i:1", RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways)}, {Name: "two", Image: "i:1"},
	}
	b.create(pod)
	b.runtime.until(t, "one", func() bool { return b.runtime.runs("one", 0) })
	got := b.status("p", "initializing", func(pod *corev1.Pod) bool { r, _ := waitingReason(pod); return r == "PodInitializing" })
	if got.Status.Phase != corev1.PodPending || condition(got, corev1.PodInitialized) {
		t.Errorf("status %+v", got.Status)
	}
	b.runtime.exit(t, "one", 1)
	b.runtime.until(t, "one again", func() bool { return b.runtime.runs("one", 1) })
	b.runtime.exit(t, "one", 0)
	b.runtime.until(t, "two beside the sidecar", func() bool { return b.runtime.runs("two", 0) && b.runtime.runs("side", 0) })
	b.runtime.mu.Lock()
	early := b.runtime.newest("main") != nil
	b.runtime.mu.Unlock()
	if early {
		t.Error("the container did not wait for the init containers")
	}
	b.runtime.exit(t, "two", 0)
	b.runtime.until(t, "main", func() bool { return b.runtime.runs("main", 0) })
	b.status("p", "ready", func(pod *corev1.Pod) bool {
		return condition(pod, corev1.PodReady) && condition(pod, corev1.PodInitialized)
	})
	// A sidecar that ends is started again; init containers are not.
	b.runtime.exit(t, "side", 0)
	b.runtime.until(t, "the sidecar again", func() bool { return b.runtime.runs("side", 1) })
	b.runtime.mu.Lock()
	defer b.runtime.mu.Unlock()
	if b.runtime.newest("two").status.Metadata.Attempt != 0 {
		t.Error("an init container ran again")
	}
}

func TestFailedInitContainerFailsThePod(t *testing.T) {
	b := newBench(t)
	pod := newPod("p", corev1.RestartPolicyNever, "main")
	pod.Spec.InitContainers = []corev1.Container{{Name: "one", Image: "i:1"}}
	b.create(pod)
	b.runtime.until(t, "one", func() bool { return b.runtime.runs("one", 0) })
	b.runtime.exit(t, "one", 1)
	b.status("p", "failed", func(pod *corev1.Pod) bool { return pod.Status.Phase == corev1.PodFailed })
}

func TestDeletionGivesGraceAndCanBeHastened(t *testing.T) {
	b := newBench(t)
	b.runtime.stubborn = true
	pod := newPod("p", corev1.RestartPolicyAlways, "main")
	pod.Spec.TerminationGracePeriodSeconds = ptr.To(int64(77))
	b.create(pod)
	b.runtime.until(t, "a run", func() bool { return b.runtime.runs("main", 0) })
	b.status("p", "ready", func(pod *corev1.Pod) bool { return condition(pod, corev1.PodReady) })
	pods := client.For[*corev1.Pod](b.cluster)
	if err := pods.Delete(t.Context(), "default", "p", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	b.runtime.until(t, "a stop with the pod's grace", func() bool { return len(b.runtime.stops) == 1 && b.runtime.stops[0] == 77 })
	b.status("p", "not ready while it ends", func(pod *corev1.Pod) bool { return pod != nil && !condition(pod, corev1.PodReady) })
	if err := pods.Delete(t.Context(), "default", "p", metav1.DeleteOptions{GracePeriodSeconds: ptr.To(int64(5))}); err != nil {
		t.Fatal(err)
	}
	b.runtime.until(t, "a stop with less grace", func() bool { return len(b.runtime.stops) == 2 && b.runtime.stops[1] == 5 })
	b.runtime.exit(t, "main", 143)
	b.status("p", "gone", func(pod *corev1.Pod) bool { return pod == nil })
	b.runtime.until(t, "nothing is left", func() bool { return len(b.runtime.sandboxes)+len(b.runtime.containers) == 0 })
}

func TestPodForcedOutOfTheClusterEnds(t *testing.T) {
	b := newBench(t)
	b.create(newPod("p", corev1.RestartPolicyAlways, "main"))
	b.runtime.until(t, "a run", func() bool { return b.runtime.runs("main", 0) })
	err := client.For[*corev1.Pod](b.cluster).Delete(t.Context(), "default", "p", metav1.DeleteOptions{GracePeriodSeconds: ptr.To(int64(0))})
	if err != nil {
		t.Fatal(err)
	}
	b.runtime.until(t, "nothing is left", func() bool { return len(b.runtime.sandboxes)+len(b.runtime.containers) == 0 })
}

func TestStatusIsWrittenWhenMastersAreBack(t *testing.T) {
	b := newBench(t)
	var away atomic.Bool
	b.cluster.OnRequest(func(verb, resource, _, _ string) error {
		if away.Load() && (verb == "update" || verb == "delete") {
			return apierrors.NewInternalError(errors.New("the masters are away"))
		}
		return nil
	})
	b.create(newPod("p", corev1.RestartPolicyAlways, "main"))
	b.status("p", "ready", func(pod *corev1.Pod) bool { return condition(pod, corev1.PodReady) })
	away.Store(true)
	b.runtime.exit(t, "main", 1)
	// It is restarted all the same.
	b.runtime.until(t, "a restart", func() bool { return b.runtime.runs("main", 1) })
	away.Store(false)
	b.stepUntil("p", func(pod *corev1.Pod) bool { return pod.Status.ContainerStatuses[0].RestartCount == 1 })
	away.Store(true)
	marked, err := client.For[*corev1.Pod](b.cluster).Get(t.Context(), "default", "p")
	if err != nil {
		t.Fatal(err)
	}
	away.Store(false)
	if err := client.For[*corev1.Pod](b.cluster).Delete(t.Context(), "default", marked.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	away.Store(true)
	b.runtime.until(t, "the pod is off the node", func() bool { return len(b.runtime.sandboxes) == 0 })
	away.Store(false)
	b.stepUntil("p", func(pod *corev1.Pod) bool { return pod == nil })
}

// stepUntil lets time pass until the pod is as ok wants it.
func (b *bench) stepUntil(name string, ok func(*corev1.Pod) bool) {
	b.t.Helper()
	b.stepWhile(func() { b.status(name, "as expected after some time", ok) })
}

func TestReadinessFollowsItsProbe(t *testing.T) {
	b := newBench(t)
	var healthy atomic.Bool
	b.runtime.exec = func(context.Context, string, []string) error {
		if healthy.Load() {
			return nil
		}
		return errors.New("not yet")
	}
	pod := newPod("p", corev1.RestartPolicyAlways, "main")
	pod.Spec.Containers[0].ReadinessProbe = &corev1.Probe{
		ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"check"}}}, PeriodSeconds: 1, FailureThreshold: 2,
	}
	b.create(pod)
	got := b.status("p", "running", func(pod *corev1.Pod) bool { return pod.Status.Phase == corev1.PodRunning })
	if condition(got, corev1.PodReady) || condition(got, corev1.ContainersReady) {
		t.Error("ready before its probe succeeded")
	}
	healthy.Store(true)
	b.stepUntil("p", func(pod *corev1.Pod) bool { return condition(pod, corev1.PodReady) })
	healthy.Store(false)
	b.stepUntil("p", func(pod *corev1.Pod) bool { return !condition(pod, corev1.PodReady) })
	b.runtime.mu.Lock()
	defer b.runtime.mu.Unlock()
	if !b.runtime.runs("main", 0) {
		t.Error("a container that is not ready was restarted")
	}
}

func TestStartupProbeHoldsTheOthersBack(t *testing.T) {
	b := newBench(t)
	var started atomic.Bool
	var early atomic.Bool
	b.runtime.exec = func(_ context.Context, _ string, command []string) error {
		if command[0] == "live" {
			if !started.Load() {
				early.Store(true)
			}
			return errors.New("dead")
		}
		if started.Load() {
			return nil
		}
		return errors.New("starting")
	}
	pod := newPod("p", corev1.RestartPolicyAlways, "main")
	exec := func(name string, failures int32) *corev1.Probe {
		return &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{name}}}, PeriodSeconds: 1, FailureThreshold: failures}
	}
	pod.Spec.Containers[0].StartupProbe, pod.Spec.Containers[0].LivenessProbe = exec("start", 1000), exec("live", 2)
	b.create(pod)
	b.status("p", "running", func(pod *corev1.Pod) bool { return pod.Status.Phase == corev1.PodRunning })
	for range 5 {
		b.clock.Step(time.Second)
	}
	started.Store(true)
	b.stepUntil("p", func(pod *corev1.Pod) bool { return pod.Status.ContainerStatuses[0].RestartCount >= 1 })
	if early.Load() {
		t.Error("liveness was asked before the container had started")
	}
}

func TestLostSandboxIsMadeAgain(t *testing.T) {
	b := newBench(t)
	b.create(newPod("p", corev1.RestartPolicyAlways, "main"))
	b.runtime.until(t, "a run", func() bool { return b.runtime.runs("main", 0) })
	for id := range b.snapshot() {
		if err := b.runtime.StopPodSandbox(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	b.runtime.until(t, "a run in a new sandbox", func() bool {
		c := b.runtime.newest("main")
		return b.runtime.runs("main", 1) && b.runtime.sandboxes[c.sandbox].Metadata.Attempt == 1
	})
}

func (b *bench) snapshot() map[string]bool {
	b.runtime.mu.Lock()
	defer b.runtime.mu.Unlock()
	ids := map[string]bool{}
	for id := range b.runtime.sandboxes {
		ids[id] = true
	}
	return ids
}
