package pods

import (
	"context"
	"errors"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/ctlplane/ctlplane/agent/mountpoint"
	"github.com/ctlplane/ctlplane/agent/volume"
)

// terminate ends a pod that is being deleted, or that the cluster does not have any more: its containers within
// their grace, then everything else, then the object itself.
func (w *worker) terminate(ctx context.Context, pod *corev1.Pod, gone bool, state *runtimeState) (again time.Duration, done bool) {
	w.mu.Lock()
	deleted := w.deleted
	w.mu.Unlock()
	if w.finalizing {
		return resync, gone || deleted
	}
	w.stopProbes()
	why := whyDeleted
	if gone {
		why = whyGone
	}
	ended := w.endContainers(pod, state, why)
	if !gone {
		w.publish(pod, state)
	}
	if !ended {
		return resync, false
	}
	final := w.status(pod, state)
	if err := w.m.removePod(ctx, pod, state); err != nil {
		w.log.Error("remove a pod from the node", "error", err)
		return retry, false
	}
	w.log.Info("a pod has ended")
	if gone {
		return 0, true
	}
	w.finalizing = true
	w.m.statuses.finish(pod, final, func() {
		w.mu.Lock()
		w.deleted = true
		w.mu.Unlock()
		w.wakeUp()
	})
	return resync, false
}

// removePod takes everything of a pod, none of whose containers run, off the node.
func (m *Manager) removePod(ctx context.Context, pod *corev1.Pod, state *runtimeState) error {
	var failed []error
	for _, s := range state.sandboxes {
		failed = append(failed, m.runtime.RemovePodSandbox(ctx, s.GetId()))
	}
	if err := errors.Join(failed...); err != nil {
		return err // volumes are in use while a sandbox is there
	}
	return errors.Join(m.removeCgroup(pod), volume.Teardown(m.podDir(pod.UID)), mountpoint.RemoveAll(m.logDir(pod)))
}

// adoptOrphans ends pods that run here and that the cluster does not have: they were deleted while the agent was
// away. It also removes what is left of pods that do not run.
func (m *Manager) adoptOrphans(ctx context.Context) {
	sandboxes, err := m.runtime.ListPodSandbox(ctx, nil)
	if err != nil {
		m.log.Error("look for pods that the cluster does not have", "error", err)
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, s := range sandboxes {
		uid := types.UID(s.GetLabels()[labelPodUID])
		if _, ok := m.workers[uid]; ok || uid == "" {
			continue
		}
		m.log.Info("a pod runs here that the cluster does not have", "pod", s.GetMetadata().GetNamespace()+"/"+s.GetMetadata().GetName())
		m.start(ctx, m.orphan(s), true)
	}
	m.dismiss()
	m.removeLeftovers()
}

// orphan is the pod of a sandbox as it was remembered, or as much of it as the sandbox tells.
func (m *Manager) orphan(s *runtimeapi.PodSandbox) *corev1.Pod {
	uid := types.UID(s.GetLabels()[labelPodUID])
	if pod, err := m.recall(uid); err == nil {
		return pod
	}
	grace, err := strconv.ParseInt(s.GetAnnotations()[annotationGrace], 10, 64)
	if err != nil {
		grace = defaultGrace
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: s.GetLabels()[labelPodName], Namespace: s.GetLabels()[labelPodNamespace], UID: uid,
		},
		Spec: corev1.PodSpec{TerminationGracePeriodSeconds: &grace},
	}
}
