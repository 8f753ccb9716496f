package pods

import (
	"fmt"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ctlplane/ctlplane/scheduling"
)

// rejection is why a node does not run a pod that was bound to it.
type rejection struct{ reason, message string }

// admission remembers which pods have their room on the node.
//
//  1. Pods are admitted one after the other: two never share the same room.
//  2. It counts by the scheduler's own arithmetic, and never more than the scheduler: pods that the cluster has on
//     this node and that have not ended. So it admits all that the scheduler has placed.
type admission struct {
	mu       sync.Mutex
	admitted map[types.UID]bool // by this process; those admitted by an earlier one have a start time
}

// rejected checks, once, whether the node has room for a pod. One that has run here already is not asked again:
// it had its room.
func (w *worker) rejected(pod *corev1.Pod, state *runtimeState) bool {
	if w.admitted || w.rejection != nil {
		return w.rejection != nil
	}
	hadRoom := len(state.sandboxes) > 0 || pod.Status.StartTime != nil
	if w.rejection = w.m.admit(pod, hadRoom); w.rejection == nil {
		w.admitted = true
		return false
	}
	w.startTime = w.m.clock.Now()
	w.event(pod, nil, corev1.EventTypeWarning, w.rejection.reason, w.rejection.message)
	return true
}

// admit gives a pod its room, unless the node lacks it. One that had its room before has it again.
func (m *Manager) admit(pod *corev1.Pod, hadRoom bool) *rejection {
	m.admission.mu.Lock()
	defer m.admission.mu.Unlock()
	if !hadRoom {
		if r := m.lacks(pod); r != nil {
			return r
		}
	}
	m.admission.admitted[pod.UID] = true
	return nil
}

// dismissRoom forgets a pod that is no longer on the node.
func (m *Manager) dismissRoom(uid types.UID) {
	m.admission.mu.Lock()
	defer m.admission.mu.Unlock()
	delete(m.admission.admitted, uid)
}

// admittedPods are the pods that have their room on the node and have not ended.
func (m *Manager) admittedPods() []*corev1.Pod {
	m.admission.mu.Lock()
	defer m.admission.mu.Unlock()
	return m.withRoom()
}

// withRoom is admittedPods for who holds admission's lock.
func (m *Manager) withRoom() []*corev1.Pod {
	var list []*corev1.Pod
	for _, obj := range m.podInformer.GetStore().List() {
		pod := obj.(*corev1.Pod)
		ended := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
		if !ended && (m.admission.admitted[pod.UID] || pod.Status.StartTime != nil) {
			list = append(list, pod)
		}
	}
	return list
}

// lacks says what the node lacks for a pod besides those that it has, nil when nothing; the caller holds admission's lock.
func (m *Manager) lacks(pod *corev1.Pod) *rejection {
	var node scheduling.NodeInfo
	node.SetAllocatable(m.cfg.Allocatable())
	for _, other := range m.withRoom() {
		if other.UID != pod.UID {
			info := scheduling.NewPodInfo(other)
			node.Add(&info)
		}
	}
	info := scheduling.NewPodInfo(pod)
	if ports := scheduling.PortConflicts(&info, &node); len(ports) > 0 {
		return &rejection{"NodePorts", fmt.Sprintf("Predicate NodePorts failed: another pod of the node has the host port %d/%s", ports[0].Port, ports[0].Protocol)}
	}
	if short := scheduling.Shortages(&info, &node); len(short) > 0 {
		s := short[0]
		return &rejection{"OutOf" + string(s.Resource), fmt.Sprintf("Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d",
			s.Resource, s.Requested, s.Used, s.Capacity)}
	}
	return nil
}
