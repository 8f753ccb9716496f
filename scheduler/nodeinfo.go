package scheduler

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ctlplane/ctlplane/scheduling"
)

// NodeInfo is a node with what its pods take, and what scores look at. It is not safe for concurrent use.
type NodeInfo struct {
	scheduling.NodeInfo
	generation int64 // grows with every change in the cluster, see cluster
	scored     scheduling.Resources
	owners     map[types.UID]int // pods of each controller
}

// NewNodeInfo makes the state of a node on which pods run.
func NewNodeInfo(node *corev1.Node, pods ...*corev1.Pod) *NodeInfo {
	n := &NodeInfo{}
	n.SetNode(node)
	for _, pod := range pods {
		n.add(NewPodInfo(pod))
	}
	return n
}

func (n *NodeInfo) add(pod *PodInfo) {
	n.NodeInfo.Add(&pod.PodInfo)
	n.score(pod, 1)
}

func (n *NodeInfo) remove(pod *PodInfo) {
	n.NodeInfo.Remove(&pod.PodInfo)
	n.score(pod, -1)
}

func (n *NodeInfo) score(pod *PodInfo, times int64) {
	n.scored.Add(&pod.scored, times)
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
	return &NodeInfo{
		NodeInfo: n.NodeInfo.Clone(), generation: n.generation, scored: n.scored.Clone(), owners: maps.Clone(n.owners),
	}
}
