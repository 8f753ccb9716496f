package pods

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// TestPanicIsOneLooksFailure has a pod's worker, and then the writing of its status, panic: both are tried again.
func TestPanicIsOneLooksFailure(t *testing.T) {
	b := newBench(t)
	b.runtime.mu.Lock()
	b.runtime.faults = 2
	b.runtime.mu.Unlock()
	var left atomic.Int32
	left.Store(2)
	b.cluster.OnRequest(func(verb, resource, _, _ string) error {
		if verb == "update" && resource == "pods/status" && left.Add(-1) >= 0 {
			panic("at the wrong time")
		}
		return nil
	})
	tick := time.NewTicker(time.Millisecond)
	done := make(chan struct{})
	var ticking sync.WaitGroup
	ticking.Go(func() {
		for {
			select {
			case <-tick.C:
				b.clock.Step(time.Second)
			case <-done:
				return
			}
		}
	})
	defer ticking.Wait()
	defer close(done)
	b.create(newPod("p", corev1.RestartPolicyAlways, "main"))
	b.runtime.until(t, "the pod runs", func() bool { return b.runtime.faults == 0 && b.runtime.newest("main") != nil })
	b.status("p", "running", func(pod *corev1.Pod) bool { return pod != nil && pod.Status.Phase == corev1.PodRunning })
	if left.Load() >= 0 {
		t.Error("no write of a status panicked: the test looks for the wrong request")
	}
}
