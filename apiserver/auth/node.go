package auth

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/fields"
)

// Pods is what the node authorizer must know of the cluster: in the API server, the registry's cache.
// What it returns is shared and is only read.
type Pods interface {
	// PodsOnNode gives the pods that are bound to the node.
	PodsOnNode(node string) []*corev1.Pod
	// Pod gives a pod, nil when there is none.
	Pod(namespace, name string) *corev1.Pod
}

// Node lets the agent of a node do what a node must, and nothing else:
//
//  1. It reads pods that are bound to it, writes their status and deletes them. NodeRestriction holds
//     the writes to that too, on the stored object itself.
//  2. It registers and heartbeats as itself: its own Node and its own Lease in kube-node-lease.
//  3. It reads configmaps and secrets only by name, and only those that a pod bound to it refers to.
//  4. It reads services, endpoint slices, nodes and namespaces, for its network. It writes events.
//
// Of users that are no nodes it has no opinion.
type Node struct{ pods Pods }

// NewNodeAuthorizer makes the authorizer of nodes.
func NewNodeAuthorizer(pods Pods) *Node { return &Node{pods: pods} }

// verbs is a set of verbs, by name.
type verbs map[string]bool

var (
	reading  = verbs{"get": true, "list": true, "watch": true}
	changing = verbs{"update": true, "patch": true}
	noting   = verbs{"create": true, "update": true, "patch": true}
)

// Authorize implements Authorizer.
func (n *Node) Authorize(a *Attributes) (Decision, string) {
	node, ok := a.User.Node()
	if !ok || !a.ResourceRequest {
		return NoOpinion, ""
	}
	switch a.Group + "/" + a.Resource {
	case "/pods":
		return n.pod(node, a)
	case "/nodes":
		return ownNode(node, a)
	case "coordination.k8s.io/leases":
		return ownLease(node, a)
	case "/configmaps":
		return n.referenced(node, a, configMapRefs)
	case "/secrets":
		return n.referenced(node, a, secretRefs)
	case "/events":
		return allowIf(noting[a.Verb] && a.Subresource == "", "a node may only write events")
	case "/services", "discovery.k8s.io/endpointslices", "/namespaces":
		return allowIf(reading[a.Verb] && a.Subresource == "", "a node may only read "+a.Resource)
	}
	return NoOpinion, fmt.Sprintf("nothing that a node runs needs %s", a.Resource)
}

func allowIf(ok bool, reason string) (Decision, string) {
	if ok {
		return Allow, ""
	}
	return NoOpinion, reason
}

func (n *Node) pod(node string, a *Attributes) (Decision, string) {
	switch {
	case a.Subresource == "" && a.Verb == "get":
		pod := n.pods.Pod(a.Namespace, a.Name)
		return allowIf(pod != nil && pod.Spec.NodeName == node, noRelationship(node))
	case a.Subresource == "" && reading[a.Verb]:
		return allowIf(selects(a.FieldSelector, "spec.nodeName", node),
			fmt.Sprintf("can only list/watch pods with spec.nodeName field selector of %q", node))
	case a.Subresource == "" && a.Verb == "delete", a.Subresource == "status" && changing[a.Verb]:
		// A pod that is gone is let through, to be answered "not found".
		pod := n.pods.Pod(a.Namespace, a.Name)
		return allowIf(a.Name != "" && (pod == nil || pod.Spec.NodeName == node), noRelationship(node))
	}
	return NoOpinion, "a node may only read the pods that are bound to it, update their status and delete them"
}

func noRelationship(node string) string {
	return fmt.Sprintf("no relationship found between node '%s' and this object", node)
}

// selects tells whether the selector lets through only objects whose field has the value.
func selects(selector fields.Selector, field, value string) bool {
	if selector == nil {
		return false
	}
	got, ok := selector.RequiresExactMatch(field)
	return ok && got == value
}

func ownNode(node string, a *Attributes) (Decision, string) {
	switch {
	case a.Subresource == "" && reading[a.Verb]:
		return Allow, ""
	case a.Subresource == "" && a.Verb == "create":
		return allowIf(a.Name == "" || a.Name == node, fmt.Sprintf("node '%s' cannot create other nodes", node))
	case (a.Subresource == "" || a.Subresource == "status") && changing[a.Verb]:
		return allowIf(a.Name == node, fmt.Sprintf("node '%s' cannot modify other nodes", node))
	}
	return NoOpinion, "a node may only read nodes and write its own"
}

func ownLease(node string, a *Attributes) (Decision, string) {
	if a.Namespace != corev1.NamespaceNodeLease {
		return NoOpinion, fmt.Sprintf("can only access leases in the %q system namespace", corev1.NamespaceNodeLease)
	}
	switch a.Verb {
	case "create":
		return allowIf(a.Name == "" || a.Name == node, "can only access node lease with the same name as the requesting node")
	case "get", "update", "patch", "delete":
		return allowIf(a.Name == node, "can only access node lease with the same name as the requesting node")
	}
	return NoOpinion, "can only get, create, update, patch, or delete a node lease"
}

// referenced allows to read one object by its name if a pod on the node refers to it.
func (n *Node) referenced(node string, a *Attributes, refs func(*corev1.Pod) []string) (Decision, string) {
	if !reading[a.Verb] || a.Subresource != "" {
		return NoOpinion, "can only read resources of this type"
	}
	if a.Name == "" || a.Namespace == "" {
		return NoOpinion, "can only read resources of this type with an exact name"
	}
	for _, pod := range n.pods.PodsOnNode(node) {
		if pod.Namespace != a.Namespace {
			continue
		}
		for _, ref := range refs(pod) {
			if ref == a.Name {
				return Allow, ""
			}
		}
	}
	return NoOpinion, noRelationship(node)
}
