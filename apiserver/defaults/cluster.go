package defaults

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
)

// applyNamespace makes a namespace active and held by the finalizer that empties it before it goes.
// A namespace that is going away gets none of that back.
func applyNamespace(ns *corev1.Namespace) {
	if ns.Name != "" && ns.Labels[corev1.LabelMetadataName] != ns.Name {
		if ns.Labels == nil {
			ns.Labels = map[string]string{}
		}
		ns.Labels[corev1.LabelMetadataName] = ns.Name
	}
	if ns.DeletionTimestamp != nil || ns.Status.Phase == corev1.NamespaceTerminating {
		return
	}
	set(&ns.Status.Phase, corev1.NamespaceActive)
	if len(ns.Spec.Finalizers) == 0 {
		ns.Spec.Finalizers = []corev1.FinalizerName{corev1.FinalizerKubernetes}
	}
}

// applyNode lets pods have all that a node has, unless the node reserves something, and fills in the
// older field for one pod range from the newer one for several, and the other way round.
func applyNode(node *corev1.Node) {
	spec, status := &node.Spec, &node.Status
	switch {
	case len(spec.PodCIDRs) > 0:
		set(&spec.PodCIDR, spec.PodCIDRs[0])
	case spec.PodCIDR != "":
		spec.PodCIDRs = []string{spec.PodCIDR}
	}
	roundUp(status.Capacity)
	if len(status.Allocatable) == 0 && len(status.Capacity) > 0 {
		status.Allocatable = maps.Clone(status.Capacity)
	}
	roundUp(status.Allocatable)
}
