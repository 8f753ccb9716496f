package pods

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// The logs of a run go with it, and with them those that were rotated out of them: what a pod that is started
// again and again keeps is bounded.
func TestRotatedLogsGoWithTheirContainer(t *testing.T) {
	b := newBench(t)
	pod := b.create(newPod("p", corev1.RestartPolicyAlways, "main"))
	var dir string
	for run := range uint32(5) {
		b.stepWhile(func() {
			b.runtime.until(t, "a run", func() bool { return b.runtime.runs("main", run) })
		})
		path := b.writeLog("main", "F one")
		dir = filepath.Dir(path)
		for _, rotated := range []string{".1", ".2", ".20260101-000000", ".20260101-000000.gz"} {
			if err := os.WriteFile(path+rotated, nil, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if run < 4 {
			b.runtime.exit(t, "main", 1)
		}
	}
	b.runtime.looked(t, b.manager, pod)
	files, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(files) != 10 {
		t.Errorf("%d files of two runs: %v, %v", len(files), files, err)
	}
}

// What pods left that went away while no agent ran is removed, their logs too.
func TestLogsOfPodsThatAreGoneAreRemoved(t *testing.T) {
	b := newBench(t)
	b.create(newPod("p", corev1.RestartPolicyAlways, "main"))
	b.runtime.until(t, "a run", func() bool { return b.runtime.runs("main", 0) })
	kept := filepath.Dir(b.writeLog("main", "F one"))
	b.stop()
	gone := []string{filepath.Join(b.dir, "logs", "default_old_0e6c"), filepath.Join(b.dir, "pods", "0e6c")}
	for _, dir := range gone {
		if err := os.MkdirAll(filepath.Join(dir, "main"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	b.start()
	for _, dir := range gone {
		awaitRemoval(t, dir)
	}
	if _, err := os.Stat(kept); err != nil {
		t.Error(err)
	}
}

func awaitRemoval(t *testing.T, path string) {
	t.Helper()
	ticker, timeout := time.NewTicker(5*time.Millisecond), time.After(60*time.Second)
	defer ticker.Stop()
	for {
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			return
		}
		select {
		case <-ticker.C:
		case <-timeout:
			t.Fatalf("%s is left", path)
		}
	}
}

// A runtime whose events end is asked for them again, and what happened meanwhile is seen.
func TestEventsThatEndAreAskedForAgain(t *testing.T) {
	for _, ended := range []error{nil, errors.New("connection lost")} {
		b := newBench(t)
		b.create(newPod("p", corev1.RestartPolicyNever, "main"))
		b.runtime.until(t, "a run", func() bool { return b.runtime.runs("main", 0) && b.runtime.eventsEnd != nil })
		b.status("p", "running", func(pod *corev1.Pod) bool { return pod.Status.Phase == corev1.PodRunning })
		b.runtime.mu.Lock()
		ends := b.runtime.eventsEnd
		b.runtime.mu.Unlock()
		ends <- ended
		b.runtime.until(t, "nobody listens", func() bool { return b.runtime.listeners == nil || b.runtime.eventsEnd != ends })
		b.runtime.exit(t, "main", 0) // unheard
		for range 300 {              // less than the time after which a pod is looked at anyway
			b.clock.Step(100 * time.Millisecond)
		}
		b.status("p", "succeeded", func(pod *corev1.Pod) bool { return pod.Status.Phase == corev1.PodSucceeded })
		b.stop()
	}
}

// A pod that asks for a runtime that the node does not have is not run by another, and says why.
func TestRuntimeClassIsNotIgnored(t *testing.T) {
	b := newBench(t)
	pod := newPod("p", corev1.RestartPolicyAlways, "main")
	pod.Spec.RuntimeClassName = ptr.To("gvisor")
	b.create(pod)
	got := b.status("p", "waiting with a reason", func(pod *corev1.Pod) bool {
		reason, message := waitingReason(pod)
		return reason == "CreateContainerConfigError" && message != ""
	})
	if got.Status.Phase != corev1.PodPending {
		t.Errorf("phase %s", got.Status.Phase)
	}
	b.runtime.mu.Lock()
	made := len(b.runtime.sandboxes) + len(b.runtime.containers)
	b.runtime.mu.Unlock()
	if made > 0 {
		t.Error("it has something in the runtime")
	}
	b.delete("p", metav1.DeleteOptions{})
	b.status("p", "gone", func(pod *corev1.Pod) bool { return pod == nil })
}
