package pods

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

const (
	// defaultGrace is the seconds that a container has to end when its pod does not say.
	defaultGrace = corev1.DefaultTerminationGracePeriodSeconds
	// minGrace is what is left for a container's own end after its pre-stop hook, however long that took.
	minGrace = 2
)

// graceOf is the seconds that a pod's containers have to end.
func graceOf(pod *corev1.Pod) int64 {
	if pod.DeletionGracePeriodSeconds != nil {
		return *pod.DeletionGracePeriodSeconds
	}
	return ptr.Deref(pod.Spec.TerminationGracePeriodSeconds, defaultGrace)
}

// kill ends a container beside the worker, which is woken afterwards. A kill under way is joined by another
// only when that leaves the container less time.
func (w *worker) kill(ctx context.Context, run containerState, grace int64, why string) {
	w.mu.Lock()
	given, under := w.killing[run.GetId()]
	if under && given <= grace {
		w.mu.Unlock()
		return
	}
	w.killing[run.GetId()] = grace
	pod := w.pod
	w.mu.Unlock()

	name := run.GetLabels()[labelContainerName]
	c := findContainer(pod, name)
	if !under {
		w.log.Info("stop a container", "container", name, "reason", why, "grace", grace)
		if c != nil {
			w.event(pod, c, corev1.EventTypeNormal, "Killing", killMessage(name, why))
		}
	}
	w.stopProbesOf(run.GetId())
	w.background.Go(func() {
		if !under && grace > 0 {
			grace = w.preStop(ctx, pod, c, run, grace)
		}
		if err := w.m.runtime.StopContainer(ctx, run.GetId(), grace); err != nil && ctx.Err() == nil {
			w.log.Error("stop a container", "container", name, "error", err)
		}
		w.mu.Lock()
		if w.killing[run.GetId()] == grace || !under {
			delete(w.killing, run.GetId())
		}
		w.mu.Unlock()
		w.wakeUp()
	})
}

func killMessage(name, why string) string {
	if why == "" {
		return "Stopping container " + name
	}
	return fmt.Sprintf("Container %s %s", name, why)
}

func findContainer(pod *corev1.Pod, name string) *corev1.Container {
	for _, c := range allContainers(pod) {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// preStop runs a container's pre-stop hook within its grace period and returns what is left of that.
func (w *worker) preStop(ctx context.Context, pod *corev1.Pod, c *corev1.Container, run containerState, grace int64) int64 {
	if c == nil || c.Lifecycle == nil || c.Lifecycle.PreStop == nil {
		return grace
	}
	begin := w.m.clock.Now()
	hook, cancel := context.WithTimeout(ctx, seconds(grace))
	defer cancel()
	if err := w.hook(hook, c, c.Lifecycle.PreStop, run.GetId(), pod.Status.PodIP); err != nil && ctx.Err() == nil {
		w.event(pod, c, corev1.EventTypeWarning, "FailedPreStopHook", "PreStopHook failed: "+err.Error())
	}
	spent := int64(w.m.clock.Since(begin) / time.Second)
	return max(grace-spent, minGrace)
}

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }
