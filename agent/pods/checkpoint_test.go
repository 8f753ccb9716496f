package pods

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/client"
)

func TestAgentThatStartsWithoutMastersLooksAfterItsPods(t *testing.T) {
	b := newBench(t)
	for _, name := range []string{"stays", "goes"} {
		b.create(newPod(name, corev1.RestartPolicyAlways, name))
		b.status(name, "ready", func(pod *corev1.Pod) bool { return condition(pod, corev1.PodReady) })
	}
	b.stop()
	// While no agent runs, one pod is forced out, and then the masters go away.
	err := client.For[*corev1.Pod](b.cluster).Delete(t.Context(), "default", "goes", metav1.DeleteOptions{GracePeriodSeconds: ptr.To(int64(0))})
	if err != nil {
		t.Fatal(err)
	}
	var away atomic.Bool
	away.Store(true)
	b.cluster.OnRequest(func(string, string, string, string) error {
		if away.Load() {
			return apierrors.NewInternalError(errors.New("the masters are away"))
		}
		return nil
	})
	b.runtime.exit(t, "stays", 1)
	b.start()
	b.stepWhile(func() {
		b.runtime.until(t, "a restart without masters", func() bool { return b.runtime.runs("stays", 1) })
	})
	b.runtime.mu.Lock()
	kept := b.runtime.runs("goes", 0)
	b.runtime.mu.Unlock()
	if !kept {
		t.Error("a pod was ended before the masters could say so")
	}
	away.Store(false)
	b.stepWhile(func() {
		b.runtime.until(t, "the pod that is gone has ended", func() bool { return b.runtime.newest("goes") == nil })
		b.status("stays", "reported", func(pod *corev1.Pod) bool { return pod.Status.ContainerStatuses[0].RestartCount == 1 })
	})
}

// stepWhile lets time pass while f waits for something.
func (b *bench) stepWhile(f func()) {
	stop, stepped := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stepped)
		ticker := time.NewTicker(5 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-ticker.C:
				b.clock.Step(100 * time.Millisecond)
			case <-stop:
				return
			}
		}
	}()
	defer func() { close(stop); <-stepped }()
	f()
}
