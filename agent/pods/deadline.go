package pods

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// How a pod failed that was active for longer than it may be.
const (
	reasonDeadlineExceeded  = "DeadlineExceeded"
	messageDeadlineExceeded = "Pod was active on the node longer than the specified deadline"
)

// begin finds out since when the pod is active on this node. What the API server or the runtime remembers of an
// earlier agent holds, so that a restart of the agent gives no pod more time.
func (w *worker) begin(pod *corev1.Pod, state *runtimeState) {
	switch {
	case pod.Status.StartTime != nil:
		w.startTime = pod.Status.StartTime.Time
	case !w.startTime.IsZero():
	case len(state.sandboxes) > 0:
		w.startTime = time.Unix(0, state.sandboxes[len(state.sandboxes)-1].GetCreatedAt())
	default:
		w.startTime = w.m.clock.Now()
	}
}

// deadline is when the pod has been active for as long as it may be.
func (w *worker) deadline(pod *corev1.Pod) (at time.Time, ok bool) {
	if pod.Spec.ActiveDeadlineSeconds == nil || w.startTime.IsZero() {
		return time.Time{}, false
	}
	return w.startTime.Add(seconds(*pod.Spec.ActiveDeadlineSeconds)), true
}

// exceeded says whether the pod's deadline has passed before the pod had ended by itself. It follows from what is
// on record alone: an agent that starts while the pod is being ended says the same.
func (w *worker) exceeded(pod *corev1.Pod, state *runtimeState) bool {
	at, ok := w.deadline(pod)
	if !ok || w.m.clock.Now().Before(at) {
		return false
	}
	return !finished(pod, state) || !lastEnd(pod, state).Before(at)
}

// lastEnd is when the last container ended that is no sidecar.
func lastEnd(pod *corev1.Pod, state *runtimeState) time.Time {
	latest := int64(0)
	for _, c := range allContainers(pod) {
		if !sidecar(c) {
			latest = max(latest, state.newest(c.Name).GetFinishedAt())
		}
	}
	return time.Unix(0, latest)
}

// untilDeadline shortens the wait for the pod's next look to its deadline.
func (w *worker) untilDeadline(pod *corev1.Pod, again time.Duration) time.Duration {
	if at, ok := w.deadline(pod); ok {
		if left := at.Sub(w.m.clock.Now()); left > 0 {
			return min(again, left)
		}
	}
	return again
}

// cancelAtDeadline ends work, such as a pull, that would outlast the pod's deadline. The work's own end releases it.
func (w *worker) cancelAtDeadline(work context.Context, cancel context.CancelFunc, pod *corev1.Pod) {
	at, ok := w.deadline(pod)
	if !ok {
		return
	}
	timer := w.m.clock.NewTimer(at.Sub(w.m.clock.Now()))
	w.background.Go(func() {
		defer timer.Stop()
		select {
		case <-timer.C():
			cancel()
		case <-work.Done():
		}
	})
}
