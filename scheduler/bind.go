package scheduler

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ctlplane/ctlplane/client"
)

const (
	bindAttempts   = 5                      // while the outcome is unknown or the pod changes
	bindRetryDelay = 200 * time.Millisecond // before the next, while the outcome is unknown
)

// bind commits a placement, or takes it back.
func (s *Scheduler) bind(ctx context.Context, p placement) {
	info := p.entry.info
	err := s.commit(ctx, info, p.node)
	switch {
	case err == nil:
		s.finish(p.entry, resultScheduled)
		s.queue.done(p.entry)
		s.recorder.Event(info.Pod, corev1.EventTypeNormal, "Scheduled",
			fmt.Sprintf("Successfully assigned %s/%s to %s", info.Pod.Namespace, info.Pod.Name, p.node))
		return
	case ctx.Err() != nil:
		return
	case apierrors.IsNotFound(err):
		s.queue.done(p.entry)
	default:
		s.finish(p.entry, resultError)
		s.options.Logger.Info("a pod could not be bound and will be tried again", "pod", info.Pod.Namespace+"/"+info.Pod.Name, "node", p.node, "error", err)
		s.queue.failed(p.entry, false)
	}
	s.cluster.forget(info.Pod.UID)
	s.retryOn(p.node)
}

// commit binds a pod to a node. The binding holds for the version of the pod that was looked at, so
// sending it again while its outcome is unknown is safe: it is done once, or a conflict tells that the
// pod has changed. When what was decided on has not, the binding goes on with the new version.
func (s *Scheduler) commit(ctx context.Context, info *PodInfo, node string) error {
	pod := info.Pod
	binding := &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion},
		Target:     corev1.ObjectReference{Kind: "Node", Name: node},
	}
	for attempt := 1; ; attempt++ {
		err := client.Bind(ctx, s.objects, binding)
		switch {
		case err == nil:
			return nil
		case attempt == bindAttempts:
			return err
		case apierrors.IsConflict(err):
			bound, conflict := s.rebase(ctx, binding, info)
			if bound || conflict != nil {
				return conflict
			}
		case outcomeUnknown(err):
			select {
			case <-s.options.Clock.After(bindRetryDelay):
			case <-ctx.Done():
				return err
			}
		default:
			return err
		}
	}
}

// rebase gives a binding that met a conflict the pod's present version. It tells when the pod is bound
// as it should be, by an earlier try, and fails when it is not the pod any more that was decided on.
func (s *Scheduler) rebase(ctx context.Context, binding *corev1.Binding, info *PodInfo) (bound bool, err error) {
	current, err := s.pods.Get(ctx, binding.Namespace, binding.Name)
	switch {
	case err != nil:
		return false, err
	case current.UID == binding.UID && current.Spec.NodeName == binding.Target.Name:
		return true, nil
	case current.UID != binding.UID || current.Spec.NodeName != "" || !s.wants(current) || NewPodInfo(current).shape != info.shape:
		return false, apierrors.NewConflict(corev1.Resource("pods"), binding.Name, errors.New("the pod has changed since its node was chosen"))
	}
	binding.ResourceVersion = current.ResourceVersion
	return false, nil
}

// outcomeUnknown tells errors after which a write may have been done from refusals.
func outcomeUnknown(err error) bool {
	return apierrors.IsServiceUnavailable(err) || apierrors.IsTimeout(err) || apierrors.IsServerTimeout(err) ||
		apierrors.IsInternalError(err) || apierrors.IsTooManyRequests(err)
}
