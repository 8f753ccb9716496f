package auth

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// NodeRestriction is the admission rule that goes with the Node authorizer: it looks at the objects
// that a node's agent wants to write, which the authorizer can't see. Everybody else passes.
//
//  1. A node writes only its own Node and Lease.
//  2. On its own Node it does not touch taints, pod range or owners, nor labels by which a cluster
//     steers work away from nodes that it does not trust.
//  3. Of pods it writes only the status, and only of pods that are bound to it.
type NodeRestriction struct{}

// Admit checks a write before it is stored. obj is the object as it would be stored, nil for a
// delete; old is the stored one, nil for a create. The error is Kubernetes' Forbidden status.
func (NodeRestriction) Admit(a *Attributes, obj, old runtime.Object) error {
	node, ok := a.User.Node()
	if !ok {
		return nil
	}
	var reason string
	switch a.Group + "/" + a.Resource {
	case "/pods":
		reason = restrictPod(node, a, obj, old)
	case "/nodes":
		reason = restrictNode(node, a, obj, old)
	case "coordination.k8s.io/leases":
		if name := nameOf(a, obj, old); name != node {
			reason = fmt.Sprintf("node %q is not allowed to modify lease %q", node, name)
		}
	}
	if reason == "" {
		return nil
	}
	resource := schema.GroupResource{Group: a.Group, Resource: a.Resource}
	return apierrors.NewForbidden(resource, nameOf(a, obj, old), fmt.Errorf("%s", reason))
}

// nameOf is the name of the object that the request writes.
func nameOf(a *Attributes, obj, old runtime.Object) string {
	for _, o := range []runtime.Object{obj, old} {
		if accessor, err := meta.Accessor(o); err == nil && o != nil {
			return accessor.GetName()
		}
	}
	return a.Name
}

func restrictPod(node string, a *Attributes, obj, old runtime.Object) string {
	oldPod, ok := old.(*corev1.Pod)
	if !ok {
		return fmt.Sprintf("node %q is not allowed to create pods", node)
	}
	if oldPod.Spec.NodeName != node {
		return fmt.Sprintf("node %q can only update pod status and delete pods with spec.nodeName set to itself", node)
	}
	if a.Verb == "delete" {
		return ""
	}
	pod, ok := obj.(*corev1.Pod)
	if !ok || a.Subresource != "status" {
		return fmt.Sprintf("node %q can only update the status of pods", node)
	}
	if !maps.Equal(pod.Labels, oldPod.Labels) {
		return fmt.Sprintf("node %q cannot update labels through pod status", node)
	}
	return ""
}

func restrictNode(node string, a *Attributes, obj, old runtime.Object) string {
	if name := nameOf(a, obj, old); name != node {
		return fmt.Sprintf("node %q is not allowed to modify node %q", node, name)
	}
	updated, ok := obj.(*corev1.Node)
	if !ok {
		return fmt.Sprintf("node %q is not allowed to %s itself", node, a.Verb)
	}
	before, isUpdate := old.(*corev1.Node)
	if !isUpdate {
		before = &corev1.Node{}
	}
	if forbidden := forbiddenLabels(updated.Labels, before.Labels); len(forbidden) > 0 {
		return fmt.Sprintf("is not allowed to modify labels: %s", strings.Join(forbidden, ", "))
	}
	if !equality.Semantic.DeepEqual(updated.OwnerReferences, before.OwnerReferences) {
		return fmt.Sprintf("node %q is not allowed to modify ownerReferences", node)
	}
	if !slices.Equal(updated.Spec.PodCIDRs, before.Spec.PodCIDRs) || updated.Spec.PodCIDR != before.Spec.PodCIDR {
		return fmt.Sprintf("node %q is not allowed to modify its pod range", node)
	}
	if isUpdate && !equality.Semantic.DeepEqual(updated.Spec.Taints, before.Spec.Taints) {
		return fmt.Sprintf("node %q is not allowed to modify taints", node)
	}
	return ""
}

// ownLabels are the labels under Kubernetes' own domains that a node may say of itself.
var ownLabels = []string{
	corev1.LabelHostname, corev1.LabelOSStable, corev1.LabelArchStable, corev1.LabelInstanceTypeStable,
	corev1.LabelTopologyZone, corev1.LabelTopologyRegion,
	corev1.LabelFailureDomainBetaZone, corev1.LabelFailureDomainBetaRegion, corev1.LabelInstanceType,
	"beta.kubernetes.io/os", "beta.kubernetes.io/arch",
}

// forbiddenLabels lists, sorted, the labels that a node changed and may not.
func forbiddenLabels(labels, before map[string]string) []string {
	var forbidden []string
	check := func(key string) {
		if !mayLabel(key) && !slices.Contains(forbidden, key) {
			forbidden = append(forbidden, key)
		}
	}
	for key, value := range labels {
		if was, ok := before[key]; !ok || was != value {
			check(key)
		}
	}
	for key := range before {
		if _, ok := labels[key]; !ok {
			check(key)
		}
	}
	slices.Sort(forbidden)
	return forbidden
}

func mayLabel(key string) bool {
	domain, _, ok := strings.Cut(key, "/")
	if !ok || !inDomain(domain, "kubernetes.io") && !inDomain(domain, "k8s.io") {
		return true
	}
	return slices.Contains(ownLabels, key) || inDomain(domain, "kubelet.kubernetes.io") || inDomain(domain, "node.kubernetes.io")
}

func inDomain(name, domain string) bool {
	return name == domain || strings.HasSuffix(name, "."+domain)
}
