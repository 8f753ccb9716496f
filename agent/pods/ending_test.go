package pods

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/client"
)

// withSidecars adds init containers that run beside the others.
func withSidecars(pod *corev1.Pod, names ...string) *corev1.Pod {
	for _, name := range names {
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, corev1.Container{
			Name: name, Image: "i:1", RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways),
		})
	}
	return pod
}

func (b *bench) delete(name string, opts metav1.DeleteOptions) {
	b.t.Helper()
	if err := client.For[*corev1.Pod](b.cluster).Delete(b.t.Context(), "default", name, opts); err != nil {
		b.t.Fatal(err)
	}
}

// stopsOf are the graces with which the runtime was asked to stop a container.
func (f *fakeRuntime) stopsOf(name string) []int64 {
	var list []int64
	for i, stopped := range f.stopped {
		if stopped == name {
			list = append(list, f.stops[i])
		}
	}
	return list
}

// A sidecar that does not end with its pod is asked once, however often the pod is looked at meanwhile, and the pod
// has not ended before it has.
func TestSidecarThatOutlivesItsPodIsStoppedOnce(t *testing.T) {
	b := newBench(t)
	b.runtime.stubborn = true
	pod := withSidecars(newPod("p", corev1.RestartPolicyNever, "main"), "side")
	pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](10)
	pod = b.create(pod)
	b.runtime.until(t, "both run", func() bool { return b.runtime.runs("main", 0) && b.runtime.runs("side", 0) })
	b.runtime.exit(t, "main", 0)
	b.runtime.until(t, "the sidecar is stopped", func() bool { return len(b.runtime.stops) == 1 })
	for range 3 {
		b.runtime.looked(t, b.manager, pod)
	}
	got := b.status("p", "with a main container that has ended", func(pod *corev1.Pod) bool {
		return pod.Status.ContainerStatuses[0].State.Terminated != nil
	})
	if got.Status.Phase != corev1.PodRunning {
		t.Errorf("the pod is %s while its sidecar runs", got.Status.Phase)
	}
	b.runtime.mu.Lock()
	stops := slices.Clone(b.runtime.stops)
	b.runtime.mu.Unlock()
	if !slices.Equal(stops, []int64{10}) {
		t.Fatalf("stops with grace %v: once with the pod's grace is right", stops)
	}
	b.runtime.exit(t, "side", 137)
	b.status("p", "succeeded", func(pod *corev1.Pod) bool { return pod.Status.Phase == corev1.PodSucceeded })
}

// A runtime that says of a running container that it has stopped it is asked again, with time between.
func TestContainerThatRunsAfterItsStopIsKilledAgainLater(t *testing.T) {
	b := newBench(t)
	b.runtime.deaf = true
	pod := b.create(newPod("p", corev1.RestartPolicyAlways, "main"))
	b.runtime.until(t, "a run", func() bool { return b.runtime.runs("main", 0) })
	b.delete("p", metav1.DeleteOptions{})
	b.runtime.until(t, "a stop", func() bool { return len(b.runtime.stops) == 1 })
	for range 3 {
		b.runtime.mu.Lock()
		before := b.runtime.looks
		b.runtime.mu.Unlock()
		b.manager.wake(pod.UID)
		b.runtime.until(t, "another look", func() bool { return b.runtime.looks > before })
	}
	b.runtime.mu.Lock()
	stops := len(b.runtime.stops)
	b.runtime.deaf = false
	b.runtime.mu.Unlock()
	if stops != 1 {
		t.Fatalf("%d stops without a wait between", stops)
	}
	b.stepWhile(func() { b.status("p", "gone", func(pod *corev1.Pod) bool { return pod == nil }) })
}

// Sidecars end after the containers that need them, the last one first, within one grace period.
func TestSidecarsEndAfterMainLastOneFirst(t *testing.T) {
	for _, how := range []struct {
		name string
		end  func(b *bench)
	}{
		{"delete", func(b *bench) { b.delete("p", metav1.DeleteOptions{}) }},
		{"gone while no agent ran", func(b *bench) {
			b.stop()
			b.delete("p", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)})
			b.start()
		}},
		{"deadline", func(b *bench) { b.clock.Step(100 * time.Second) }},
		{"failed by another", func(b *bench) {
			pods := client.For[*corev1.Pod](b.cluster)
			pod, err := pods.Get(b.t.Context(), "default", "p")
			if err != nil {
				b.t.Fatal(err)
			}
			pod = pod.DeepCopy()
			pod.Status.Phase, pod.Status.Reason = corev1.PodFailed, "Evicted"
			if _, err := pods.UpdateStatus(b.t.Context(), pod); err != nil {
				b.t.Fatal(err)
			}
		}},
	} {
		t.Run(how.name, func(t *testing.T) {
			b := newBench(t)
			b.runtime.stubborn = true
			pod := withSidecars(newPod("p", corev1.RestartPolicyNever, "main", "other"), "first", "second")
			pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](20)
			pod.Spec.ActiveDeadlineSeconds = ptr.To[int64](100)
			b.create(pod)
			b.runtime.until(t, "all run", func() bool {
				return b.runtime.runs("main", 0) && b.runtime.runs("other", 0) && b.runtime.runs("first", 0) && b.runtime.runs("second", 0)
			})
			b.status("p", "running", func(pod *corev1.Pod) bool { return pod.Status.Phase == corev1.PodRunning })
			how.end(b)
			b.runtime.until(t, "the main containers are stopped", func() bool { return len(b.runtime.stopped) >= 2 })
			b.clock.Step(4 * time.Second)
			b.runtime.exit(t, "main", 0)
			b.runtime.exit(t, "other", 0)
			b.runtime.until(t, "the second sidecar is stopped", func() bool { return len(b.runtime.stopped) >= 3 })
			b.clock.Step(5 * time.Second)
			b.runtime.exit(t, "second", 0)
			b.runtime.until(t, "the first sidecar is stopped", func() bool { return len(b.runtime.stopped) >= 4 })
			b.runtime.mu.Lock()
			stopped, stops := slices.Clone(b.runtime.stopped), slices.Clone(b.runtime.stops)
			b.runtime.mu.Unlock()
			slices.Sort(stopped[:2])
			if !slices.Equal(stopped, []string{"main", "other", "second", "first"}) || !slices.Equal(stops, []int64{20, 20, 16, 11}) {
				t.Errorf("stopped %v with grace %v", stopped, stops)
			}
			b.runtime.exit(t, "first", 0)
		})
	}
}

// A main container that uses the whole grace period up leaves the sidecars no more than a moment.
func TestSidecarsShareTheGraceOfMain(t *testing.T) {
	b := newBench(t)
	b.runtime.stubborn = true
	pod := withSidecars(newPod("p", corev1.RestartPolicyNever, "main"), "first", "second")
	pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](20)
	b.create(pod)
	b.runtime.until(t, "all run", func() bool {
		return b.runtime.runs("main", 0) && b.runtime.runs("first", 0) && b.runtime.runs("second", 0)
	})
	b.delete("p", metav1.DeleteOptions{})
	b.runtime.until(t, "main is stopped", func() bool { return len(b.runtime.stops) == 1 })
	b.stepWhile(func() {
		b.runtime.until(t, "the sidecars are stopped", func() bool { return len(b.runtime.stops) == 3 })
	})
	b.runtime.mu.Lock()
	stops := slices.Clone(b.runtime.stops)
	b.runtime.mu.Unlock()
	if !slices.Equal(stops, []int64{20, minGrace, minGrace}) {
		t.Errorf("stops with grace %v", stops)
	}
	for _, name := range []string{"main", "second", "first"} {
		b.runtime.exit(t, name, 137)
	}
	b.status("p", "gone", func(pod *corev1.Pod) bool { return pod == nil })
}

// The pre-stop hook's time is the container's own: a sidecar's hook runs at once, and its turn comes after.
func TestPreStopHookCountsInTheGrace(t *testing.T) {
	b := newBench(t)
	b.runtime.stubborn = true
	pod := withSidecars(newPod("p", corev1.RestartPolicyNever, "main"), "side")
	pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](30)
	hook := &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 10}}}
	pod.Spec.Containers[0].Lifecycle, pod.Spec.InitContainers[0].Lifecycle = hook, hook
	b.create(pod)
	b.runtime.until(t, "all run", func() bool { return b.runtime.runs("main", 0) && b.runtime.runs("side", 0) })
	b.delete("p", metav1.DeleteOptions{})
	b.stepWhile(func() {
		b.runtime.until(t, "main is stopped", func() bool { return len(b.runtime.stops) == 1 })
	})
	b.runtime.mu.Lock()
	left := b.runtime.stops[0]
	b.runtime.mu.Unlock()
	if left > 20 || left < 15 {
		t.Errorf("%d of 30 seconds are left after a hook of 10", left)
	}
	b.runtime.exit(t, "main", 0)
	b.runtime.until(t, "the sidecar is stopped", func() bool { return len(b.runtime.stopsOf("side")) == 1 })
	b.runtime.exit(t, "side", 0)
	b.status("p", "gone", func(pod *corev1.Pod) bool { return pod == nil })
}

// Without a grace period a container is killed at once, hook or no hook.
func TestNoGraceKillsAtOnce(t *testing.T) {
	b := newBench(t)
	b.runtime.stubborn = true
	b.runtime.exec = func(context.Context, string, []string) error { return errors.New("the hook ran") }
	pod := withSidecars(newPod("p", corev1.RestartPolicyAlways, "main"), "side")
	pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](0)
	pod.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 1000}}}
	b.create(pod)
	b.runtime.until(t, "all run", func() bool { return b.runtime.runs("main", 0) && b.runtime.runs("side", 0) })
	b.delete("p", metav1.DeleteOptions{})
	b.runtime.until(t, "nothing is left", func() bool { return len(b.runtime.sandboxes)+len(b.runtime.containers) == 0 })
	b.runtime.mu.Lock()
	defer b.runtime.mu.Unlock()
	if !slices.Equal(b.runtime.stops, []int64{0, 0}) {
		t.Errorf("stops with grace %v", b.runtime.stops)
	}
}

// A pod that is forced out of the cluster is killed at once, also when it had been given time before.
func TestForcedDeletionKillsAtOnce(t *testing.T) {
	for _, began := range []bool{false, true} {
		b := newBench(t)
		b.runtime.stubborn = true
		b.create(newPod("p", corev1.RestartPolicyAlways, "main"))
		b.runtime.until(t, "a run", func() bool { return b.runtime.runs("main", 0) })
		want := []int64{0}
		if began {
			b.delete("p", metav1.DeleteOptions{})
			b.runtime.until(t, "a stop", func() bool { return len(b.runtime.stops) == 1 })
			want = []int64{30, 0}
		}
		b.delete("p", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)})
		b.runtime.until(t, "nothing is left", func() bool { return len(b.runtime.sandboxes)+len(b.runtime.containers) == 0 })
		b.runtime.mu.Lock()
		if !slices.Equal(b.runtime.stops, want) {
			t.Errorf("stops with grace %v, want %v", b.runtime.stops, want)
		}
		b.runtime.mu.Unlock()
		b.stop()
	}
}

// A hook that panics keeps no container from its end, and does not have it begun anew.
func TestPanicInAHookDoesNotStopTheKill(t *testing.T) {
	b := newBench(t)
	b.runtime.stubborn = true
	b.runtime.exec = func(context.Context, string, []string) error { panic("a fault") }
	pod := newPod("p", corev1.RestartPolicyAlways, "main")
	pod.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"x"}}}}
	b.create(pod)
	b.runtime.until(t, "a run", func() bool { return b.runtime.runs("main", 0) })
	b.delete("p", metav1.DeleteOptions{})
	b.runtime.until(t, "a stop", func() bool { return len(b.runtime.stops) == 1 && b.runtime.stops[0] == 30 })
	b.runtime.exit(t, "main", 0)
	b.status("p", "gone", func(pod *corev1.Pod) bool { return pod == nil })
	b.runtime.mu.Lock()
	defer b.runtime.mu.Unlock()
	if len(b.runtime.stops) != 1 {
		t.Errorf("stops with grace %v", b.runtime.stops)
	}
}
