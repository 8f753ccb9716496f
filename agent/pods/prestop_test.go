package pods

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestPreStopHookBeginsOnce stops the agent in the middle of a hook, which the next agent ran again.
func TestPreStopHookBeginsOnce(t *testing.T) {
	b := newBench(t)
	b.runtime.stubborn = true
	var runs atomic.Int32
	began := make(chan struct{})
	b.runtime.exec = func(ctx context.Context, _ string, _ []string) error {
		if runs.Add(1) == 1 {
			close(began)
			<-ctx.Done()
		}
		return ctx.Err()
	}
	pod := newPod("p", corev1.RestartPolicyAlways, "main")
	pod.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"x"}}}}
	b.create(pod)
	b.runtime.until(t, "a run", func() bool { return b.runtime.runs("main", 0) })
	b.delete("p", metav1.DeleteOptions{})
	<-began
	b.stop()
	b.start()
	b.runtime.until(t, "a stop", func() bool { return len(b.runtime.stops) == 1 })
	b.runtime.exit(t, "main", 0)
	b.status("p", "gone", func(pod *corev1.Pod) bool { return pod == nil })
	if n := runs.Load(); n != 1 {
		t.Errorf("the hook ran %d times", n)
	}
}

func TestRestOfAPreStopHook(t *testing.T) {
	sleep := &corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: 10}}
	for ago, want := range map[time.Duration]int64{0: 10, 3500 * time.Millisecond: 7, 10 * time.Second: 0, time.Hour: 0, -time.Second: 10} {
		rest := restOf(sleep, ago)
		if want == 0 && rest != nil || want > 0 && (rest == nil || rest.Sleep.Seconds != want) {
			t.Errorf("of a sleep of ten seconds that began %v ago there is left: %+v", ago, rest)
		}
	}
	if rest := restOf(&corev1.LifecycleHandler{Exec: &corev1.ExecAction{}}, 0); rest != nil {
		t.Errorf("of a command there is left: %+v", rest)
	}
}
