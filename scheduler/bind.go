package scheduler

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ctlplane/ctlplane/client"
)

const (
	bindAttempts   = 5                      // while the outcome is not known
	bindRetryDelay = 200 * time.Millisecond // between them
)

// bind commits a placement, or takes it back.
func (s *Scheduler) bind(ctx context.Context, p placement) {
	info := p.entry.info
	err := s.commit(ctx, info.Pod, p.node)
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
// sending it again while its outcome is unknown is safe: it is done once, or a conflict tells that
// somebody, maybe the earlier try, was there first.
func (s *Scheduler) commit(ctx context.Context, pod *corev1.Pod, node string) error {
	binding := &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion},
		Target:     corev1.ObjectReference{Kind: "Node", Name: node},
	}
	for attempt := 1; ; attempt++ {
		err := client.Bind(ctx, s.objects, binding)
		if apierrors.IsConflict(err) && s.isOn(ctx, pod, node) {
			return nil
		}
		if err == nil || !outcomeUnknown(err) || attempt == bindAttempts {
			return err
		}
		select {
		case <-s.options.Clock.After(bindRetryDelay):
		case <-ctx.Done():
			return err
		}
	}
}

// isOn tells whether the pod is on the node already.
func (s *Scheduler) isOn(ctx context.Context, pod *corev1.Pod, node string) bool {
	current, err := s.pods.Get(ctx, pod.Namespace, pod.Name)
	return err == nil && current.UID == pod.UID && current.Spec.NodeName == node
}

// outcomeUnknown tells errors after which a write may have been done from refusals.
func outcomeUnknown(err error) bool {
	return apierrors.IsServiceUnavailable(err) || apierrors.IsTimeout(err) || apierrors.IsServerTimeout(err) ||
		apierrors.IsInternalError(err) || apierrors.IsTooManyRequests(err)
}
