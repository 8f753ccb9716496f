package node

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ours is the taints that follow from a node's state, and which this controller therefore adds and takes away.
var ours = map[string]bool{
	corev1.TaintNodeNotReady:           true,
	corev1.TaintNodeUnreachable:        true,
	corev1.TaintNodeUnschedulable:      true,
	corev1.TaintNodeMemoryPressure:     true,
	corev1.TaintNodeDiskPressure:       true,
	corev1.TaintNodePIDPressure:        true,
	corev1.TaintNodeNetworkUnavailable: true,
}

// pressures is the conditions that keep new pods off a node as long as they are true.
var pressures = map[corev1.NodeConditionType]string{
	corev1.NodeMemoryPressure:     corev1.TaintNodeMemoryPressure,
	corev1.NodeDiskPressure:       corev1.TaintNodeDiskPressure,
	corev1.NodePIDPressure:        corev1.TaintNodePIDPressure,
	corev1.NodeNetworkUnavailable: corev1.TaintNodeNetworkUnavailable,
}

// nextTaints is the taints that a node should have, and whether it has others. A taint that stays keeps the
// time at which it was added: evictions count from there. One that somebody added without saying when, as kubectl
// does, gets the time at which it is first seen.
func nextTaints(node *corev1.Node, now time.Time) ([]corev1.Taint, bool) {
	wanted := stateTaints(node)
	var next []corev1.Taint
	changed := false
	add := func(taint corev1.Taint) {
		if taint.Effect == corev1.TaintEffectNoExecute && taint.TimeAdded == nil {
			added := metav1.NewTime(now)
			taint.TimeAdded = &added
			changed = true
		}
		next = append(next, taint)
	}
	for _, taint := range node.Spec.Taints {
		if !ours[taint.Key] {
			add(taint)
			continue
		}
		if i := indexOf(wanted, taint); i >= 0 {
			add(taint)
			wanted = append(wanted[:i], wanted[i+1:]...)
			continue
		}
		changed = true
	}
	for _, taint := range wanted {
		add(taint)
		changed = true
	}
	return next, changed
}

// stateTaints is the taints that follow from a node's state.
func stateTaints(node *corev1.Node) []corev1.Taint {
	var taints []corev1.Taint
	switch readiness(node) {
	case corev1.ConditionTrue:
	case corev1.ConditionUnknown:
		taints = append(taints,
			corev1.Taint{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoSchedule},
			corev1.Taint{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute})
	default:
		taints = append(taints,
			corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule},
			corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoExecute})
	}
	if node.Spec.Unschedulable {
		taints = append(taints, corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule})
	}
	for _, condition := range node.Status.Conditions {
		if key, ok := pressures[condition.Type]; ok && condition.Status == corev1.ConditionTrue {
			taints = append(taints, corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule})
		}
	}
	return taints
}

// indexOf finds a taint by key and effect; -1 if it isn't there.
func indexOf(taints []corev1.Taint, taint corev1.Taint) int {
	for i := range taints {
		if taints[i].MatchTaint(&taint) {
			return i
		}
	}
	return -1
}

// evicting is a node's taints that pods must tolerate to stay.
func evicting(node *corev1.Node) []corev1.Taint {
	var found []corev1.Taint
	for _, taint := range node.Spec.Taints {
		if taint.Effect == corev1.TaintEffectNoExecute {
			found = append(found, taint)
		}
	}
	return found
}
