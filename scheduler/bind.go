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
	bindLooks        = 5                      // at a pod whose binding failed, before it is left to a later pass
	firstBindDelay   = 100 * time.Millisecond // before another attempt while the API is not to be had; doubles
	longestBindDelay = 5 * time.Second
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
//
// While nobody knows whether the pod is bound, commit goes on until ctx ends: only a certain failure
// may give the pod's room to another.
func (s *Scheduler) commit(ctx context.Context, info *PodInfo, node string) error {
	binding := &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: info.Pod.Namespace, Name: info.Pod.Name, UID: info.Pod.UID, ResourceVersion: info.Pod.ResourceVersion,
		},
		Target: corev1.ObjectReference{Kind: "Node", Name: node},
	}
	delay, looks := firstBindDelay, 0
	for {
		err := client.Bind(ctx, s.objects, binding)
		if mustLook(err) {
			bound, lookErr := s.rebase(ctx, binding, info)
			looks++
			switch {
			case bound:
				return nil
			case lookErr == nil && looks < bindLooks:
				continue
			case lookErr != nil:
				err = lookErr
			}
		}
		if err == nil || !mayPass(err) {
			return err
		}
		select {
		case <-s.options.Clock.After(delay):
			delay = min(2*delay, longestBindDelay)
		case <-ctx.Done():
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

// mustLook tells errors after which the pod itself shows whether it is bound, and whether it still can be.
func mustLook(err error) bool {
	return err != nil && (apierrors.IsConflict(err) || apierrors.IsInternalError(err) || apierrors.ReasonForError(err) == metav1.StatusReasonUnknown)
}

// mayPass tells errors of an API that is not to be had just now. Some leave it open whether the write was done.
func mayPass(err error) bool {
	return apierrors.IsServiceUnavailable(err) || apierrors.IsTimeout(err) || apierrors.IsServerTimeout(err) || apierrors.IsTooManyRequests(err)
}
