package pods

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// rejection is why a node does not run a pod that was bound to it.
type rejection struct{ reason, message string }

// rejected checks, once, whether the node has room for a pod. One that has run here already is not asked again:
// it had its room.
func (w *worker) rejected(pod *corev1.Pod, state *runtimeState) bool {
	if !w.admitted && w.rejection == nil {
		w.admitted = len(state.sandboxes) > 0 || pod.Status.StartTime != nil
	}
	if !w.admitted && w.rejection == nil {
		if w.rejection = w.m.fits(pod); w.rejection == nil {
			w.admitted = true
		} else {
			w.event(pod, nil, corev1.EventTypeWarning, w.rejection.reason, w.rejection.message)
		}
	}
	return w.rejection != nil
}

// fits says what the node lacks for a pod besides those that it has, nil when nothing.
func (m *Manager) fits(pod *corev1.Pod) *rejection {
	allocatable := m.cfg.Allocatable()
	used := map[corev1.ResourceName]*resource.Quantity{}
	count := int64(0)
	for _, other := range m.Pods() {
		if other.UID == pod.UID || other.Status.Phase == corev1.PodSucceeded || other.Status.Phase == corev1.PodFailed || !m.isAdmitted(other) {
			continue
		}
		count++
		addRequests(used, other)
	}
	if limit := allocatable[corev1.ResourcePods]; !limit.IsZero() && count+1 > limit.Value() {
		return &rejection{"OutOfpods", fmt.Sprintf("Node didn't have enough resource: pods, requested: 1, used: %d, capacity: %d", count, limit.Value())}
	}
	wanted := map[corev1.ResourceName]*resource.Quantity{}
	addRequests(wanted, pod)
	for name, quantity := range wanted {
		have, known := allocatable[name]
		if !known && quantity.IsZero() {
			continue
		}
		total := quantity.DeepCopy()
		if u, ok := used[name]; ok {
			total.Add(*u)
		}
		if total.Cmp(have) > 0 {
			total.Sub(*quantity)
			return &rejection{"OutOf" + string(name), fmt.Sprintf("Node didn't have enough resource: %s, requested: %s, used: %s, capacity: %s", name, quantity, &total, &have)}
		}
	}
	return nil
}

// isAdmitted says whether a pod's room is taken: those that wait for their first look are not.
func (m *Manager) isAdmitted(pod *corev1.Pod) bool { return pod.Status.StartTime != nil }

// addRequests adds what a pod asks for: the sum of its containers, or its largest init container if that is more.
func addRequests(sum map[corev1.ResourceName]*resource.Quantity, pod *corev1.Pod) {
	own := map[corev1.ResourceName]resource.Quantity{}
	for i := range pod.Spec.Containers {
		for name, q := range pod.Spec.Containers[i].Resources.Requests {
			total := own[name]
			total.Add(q)
			own[name] = total
		}
	}
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		for name, q := range c.Resources.Requests {
			total := own[name]
			if sidecar(c) {
				total.Add(q)
				own[name] = total
			} else if q.Cmp(total) > 0 {
				own[name] = q.DeepCopy()
			}
		}
	}
	for name, q := range own {
		if sum[name] == nil {
			sum[name] = &resource.Quantity{}
		}
		sum[name].Add(q)
	}
}
