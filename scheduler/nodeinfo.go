package scheduler

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// NodeInfo is a node with what its pods take. It is not safe for concurrent use.
type NodeInfo struct {
	node        *corev1.Node // nil while only pods of it are known
	generation  int64        // grows with every change in the cluster, see cluster
	allocatable Resources
	maxPods     int64
	taints      []corev1.Taint // the node's own and those that its state implies

	requested Resources
	scored    Resources
	pods      int64
	ports     []hostPort
	owners    map[types.UID]int // pods of each controller
}

// NewNodeInfo makes the state of a node on which pods run.
func NewNodeInfo(node *corev1.Node, pods ...*corev1.Pod) *NodeInfo {
	n := &NodeInfo{}
	n.setNode(node)
	for _, pod := range pods {
		n.add(NewPodInfo(pod))
	}
	return n
}

// Node is the node itself, read-only.
func (n *NodeInfo) Node() *corev1.Node { return n.node }

func (n *NodeInfo) setNode(node *corev1.Node) {
	n.node = node
	n.allocatable = resourcesOf(node.Status.Allocatable)
	n.maxPods = node.Status.Allocatable.Pods().Value()
	n.taints = effectiveTaints(node)
}

func (n *NodeInfo) add(pod *PodInfo) {
	n.count(pod, 1)
	n.ports = append(n.ports, pod.ports...)
}

func (n *NodeInfo) remove(pod *PodInfo) {
	n.count(pod, -1)
	for _, port := range pod.ports {
		if i := slices.Index(n.ports, port); i >= 0 {
			n.ports = slices.Delete(n.ports, i, i+1)
		}
	}
}

func (n *NodeInfo) count(pod *PodInfo, times int64) {
	n.requested.add(&pod.Requests, times)
	n.scored.add(&pod.scored, times)
	n.pods += times
	if pod.owner == "" {
		return
	}
	if n.owners == nil {
		n.owners = map[types.UID]int{}
	}
	if n.owners[pod.owner] += int(times); n.owners[pod.owner] == 0 {
		delete(n.owners, pod.owner)
	}
}

func (n *NodeInfo) clone() *NodeInfo {
	copied := *n
	copied.requested = n.requested.clone()
	copied.scored = n.scored.clone()
	copied.ports = slices.Clone(n.ports)
	copied.owners = maps.Clone(n.owners)
	return &copied
}

// effectiveTaints adds to a node's taints the one that its Ready condition stands for, in case nobody
// has put it there yet: no pod shall go to a node between its loss and the taint. A node without the
// condition is taken as it is.
func effectiveTaints(node *corev1.Node) []corev1.Taint {
	for _, condition := range node.Status.Conditions {
		if condition.Type != corev1.NodeReady || condition.Status == corev1.ConditionTrue {
			continue
		}
		key := corev1.TaintNodeNotReady
		if condition.Status == corev1.ConditionUnknown {
			key = corev1.TaintNodeUnreachable
		}
		implied := corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule}
		if !slices.ContainsFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.MatchTaint(&implied) }) {
			return append(slices.Clone(node.Spec.Taints), implied)
		}
	}
	return node.Spec.Taints
}
