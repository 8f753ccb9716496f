package scheduling

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// NodeInfo is a node with what its pods take. It is not safe for concurrent use.
type NodeInfo struct {
	Node        *corev1.Node // nil while only pods of it are known
	Allocatable Resources
	MaxPods     int64
	Taints      []corev1.Taint // the node's own and those that its state implies

	Requested Resources
	Pods      int64
	Ports     []HostPort
}

// NewNodeInfo makes the state of a node on which pods run.
func NewNodeInfo(node *corev1.Node, pods ...*corev1.Pod) *NodeInfo {
	n := &NodeInfo{}
	n.SetNode(node)
	for _, pod := range pods {
		info := NewPodInfo(pod)
		n.Add(&info)
	}
	return n
}

// SetNode takes over what is known of the node itself.
func (n *NodeInfo) SetNode(node *corev1.Node) {
	n.Node = node
	n.SetAllocatable(node.Status.Allocatable)
	n.Taints = effectiveTaints(node)
}

// SetAllocatable takes over what the node has for pods.
func (n *NodeInfo) SetAllocatable(list corev1.ResourceList) {
	n.Allocatable = ResourcesOf(list)
	n.MaxPods = list.Pods().Value()
}

// Add counts a pod on the node.
func (n *NodeInfo) Add(pod *PodInfo) {
	n.Requested.Add(&pod.Requests, 1)
	n.Pods++
	n.Ports = append(n.Ports, pod.Ports...)
}

// Remove takes back what Add has counted.
func (n *NodeInfo) Remove(pod *PodInfo) {
	n.Requested.Add(&pod.Requests, -1)
	n.Pods--
	for _, port := range pod.Ports {
		if i := slices.Index(n.Ports, port); i >= 0 {
			n.Ports = slices.Delete(n.Ports, i, i+1)
		}
	}
}

// Clone copies all that Add and Remove change.
func (n *NodeInfo) Clone() NodeInfo {
	copied := *n
	copied.Requested = n.Requested.Clone()
	copied.Ports = slices.Clone(n.Ports)
	return copied
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
