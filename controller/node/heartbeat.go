package node

import (
	"fmt"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
)

// heartbeats remembers, for each node, when by our own clock its heartbeat last changed. What time a
// heartbeat states doesn't matter: the node's clock is its own. Safe for concurrent use.
type heartbeats struct {
	mu   sync.Mutex
	seen map[string]heartbeat
}

// heartbeat is what is known of one node's.
type heartbeat struct {
	value string
	// first is when the node was first seen, changed when its heartbeat last was another than before.
	first, changed time.Time
}

func newHeartbeats() *heartbeats { return &heartbeats{seen: map[string]heartbeat{}} }

// observe notes what a node's heartbeat is now.
func (h *heartbeats) observe(node *corev1.Node, lease *coordinationv1.Lease, now time.Time) heartbeat {
	value := string(node.UID)
	if lease != nil && lease.Spec.RenewTime != nil {
		value += fmt.Sprintf(" lease %d", lease.Spec.RenewTime.UnixNano())
	}
	if ready := condition(node, corev1.NodeReady); ready != nil {
		value += fmt.Sprintf(" status %d", ready.LastHeartbeatTime.UnixNano())
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	known, ok := h.seen[node.Name]
	if !ok {
		known.first = now
	}
	if !ok || known.value != value {
		known.value, known.changed = value, now
		h.seen[node.Name] = known
	}
	return known
}

// forget drops a node that is no more.
func (h *heartbeats) forget(name string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.seen, name)
}

// condition finds a condition of a node; nil when it has none of the type.
func condition(node *corev1.Node, kind corev1.NodeConditionType) *corev1.NodeCondition {
	for i := range node.Status.Conditions {
		if node.Status.Conditions[i].Type == kind {
			return &node.Status.Conditions[i]
		}
	}
	return nil
}

// readiness is what a node's condition Ready says: False when it says nothing.
func readiness(node *corev1.Node) corev1.ConditionStatus {
	if ready := condition(node, corev1.NodeReady); ready != nil {
		return ready.Status
	}
	return corev1.ConditionFalse
}
