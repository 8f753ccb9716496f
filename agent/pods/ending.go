package pods

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Why the containers of a pod are ended.
const (
	whyDeleted  = "the pod is being deleted"
	whyGone     = "the cluster does not have the pod"
	whyEnded    = "the pod has ended"
	whyDeadline = "the pod was active for as long as it may be"
	whyRejected = "the node can't run the pod"
)

// through says why a pod that stays in the cluster does not run any more; empty when it is to run.
func (w *worker) through(pod *corev1.Pod, state *runtimeState) string {
	if w.rejected(pod, state) {
		return whyRejected
	}
	w.begin(pod, state)
	switch {
	case terminal(pod):
		return whyEnded
	case w.exceeded(pod, state):
		return whyDeadline
	case finished(pod, state):
		return whyEnded
	}
	return ""
}

func terminal(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// retire ends what still runs of a pod that is through, and frees its sandbox; its containers stay for
// their logs until the pod is deleted.
func (w *worker) retire(ctx context.Context, pod *corev1.Pod, state *runtimeState, why string) time.Duration {
	if why == whyDeadline && !w.overdue {
		w.overdue = true
		w.event(pod, nil, corev1.EventTypeNormal, reasonDeadlineExceeded, messageDeadlineExceeded)
	}
	clear(w.waiting) // nothing is waited for any more
	if !w.endContainers(pod, state, why) {
		return resync
	}
	if s := state.sandbox(); s != nil {
		if err := w.m.runtime.StopPodSandbox(ctx, s.GetId()); err != nil {
			w.log.Error("stop the sandbox of a pod that has ended", "error", err)
			return retry
		}
	}
	return 10 * resync
}

// endContainers ends all containers of a pod within its grace period: those that others may need after those
// others. It is called at each look until it says that all have ended.
func (w *worker) endContainers(pod *corev1.Pod, state *runtimeState, why string) (ended bool) {
	running := state.running()
	names := map[string]bool{}
	for _, run := range running {
		names[run.GetLabels()[labelContainerName]] = true
	}
	grace := graceOf(pod)
	until := w.m.clock.Now().Add(seconds(grace)) // one period for all
	for _, run := range running {
		name := run.GetLabels()[labelContainerName]
		w.kill(run, killOrder{grace: grace, until: until, why: why, message: "Stopping container " + name, turn: !needed(pod, name, names)})
	}
	return len(running) == 0
}

// needed says whether a container of those that run may need the one named: a sidecar serves all that start
// after it, so it ends after them. Other containers serve nobody.
func needed(pod *corev1.Pod, name string, running map[string]bool) bool {
	serves := false
	for _, c := range allContainers(pod) {
		switch {
		case c.Name == name:
			serves = sidecar(c)
		case serves && running[c.Name]:
			return true
		}
	}
	return false
}
