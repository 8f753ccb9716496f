package scheduler

import (
	"errors"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/supervise"
)

// follow lets what informers see reach the queue and the cluster, until stop is called. synced tell
// when all that there was has arrived.
func (s *Scheduler) follow() (stop func(), synced []cache.InformerSynced, err error) {
	var stops []func() error
	stop = func() {
		for _, remove := range stops {
			if err := remove(); err != nil {
				s.options.Logger.Warn("an informer kept a handler of the scheduler", "error", err)
			}
		}
	}
	add := func(informer cache.SharedIndexInformer, handler cache.ResourceEventHandlerFuncs) error {
		registration, err := informer.AddEventHandler(supervise.Handler(s.options.Name, s.options.Logger, handler))
		if err != nil {
			return err
		}
		stops = append(stops, func() error { return informer.RemoveEventHandler(registration) })
		synced = append(synced, registration.HasSynced)
		return nil
	}
	err = errors.Join(
		add(client.InformerFor[*corev1.Node](s.informers), cache.ResourceEventHandlerFuncs{
			AddFunc:    func(obj any) { s.onNode(obj.(*corev1.Node)) },
			UpdateFunc: func(_, obj any) { s.onNode(obj.(*corev1.Node)) },
			DeleteFunc: func(obj any) { s.onNodeGone(lastState[*corev1.Node](obj)) },
		}),
		add(client.InformerFor[*corev1.Pod](s.informers), cache.ResourceEventHandlerFuncs{
			AddFunc:    func(obj any) { s.onPod(obj.(*corev1.Pod)) },
			UpdateFunc: func(_, obj any) { s.onPod(obj.(*corev1.Pod)) },
			DeleteFunc: func(obj any) { s.onPodGone(lastState[*corev1.Pod](obj)) },
		}))
	if err != nil {
		stop()
	}
	return stop, synced, err
}

// lastState is a deleted object as it was last seen.
func lastState[T client.Object](obj any) T {
	if unknown, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = unknown.Obj
	}
	return obj.(T)
}

func (s *Scheduler) onNode(node *corev1.Node) {
	s.cluster.setNode(node)
	s.retryOn(node.Name)
}

func (s *Scheduler) onNodeGone(node *corev1.Node) { s.cluster.removeNode(node.Name) }

func (s *Scheduler) onPod(pod *corev1.Pod) {
	ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	switch {
	case ended:
		s.onPodGone(pod)
	case pod.Spec.NodeName != "":
		s.cluster.setPod(NewPodInfo(pod), pod.Spec.NodeName)
		s.queue.remove(pod.UID)
	case !s.wants(pod):
		s.queue.remove(pod.UID)
	case s.cluster.counts(pod.UID): // it is on its way to a node
		s.queue.update(NewPodInfo(pod))
	default:
		s.queue.set(NewPodInfo(pod))
	}
}

// wants tells whether a pod without a node is this scheduler's to place, now.
func (s *Scheduler) wants(pod *corev1.Pod) bool {
	name := pod.Spec.SchedulerName
	return (name == s.options.Name || (name == "" && s.options.Name == corev1.DefaultSchedulerName)) &&
		pod.DeletionTimestamp == nil && len(pod.Spec.SchedulingGates) == 0
}

func (s *Scheduler) onPodGone(pod *corev1.Pod) {
	s.queue.remove(pod.UID)
	if node, counted := s.cluster.removePod(pod.UID); counted {
		s.retryOn(node)
	}
}

// retryOn tries pods again that a node can take now. One that can't be told of waits until it is due anyway.
func (s *Scheduler) retryOn(node string) {
	s.queue.nodeChanged(func(pod *PodInfo) (feasible bool) {
		supervise.Do(s.options.Name, s.options.Logger, func() { feasible = s.cluster.feasible(pod, node) })
		return feasible
	})
}
