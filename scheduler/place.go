package scheduler

import (
	"container/heap"

	"github.com/ctlplane/ctlplane/scheduling"
)

// placement is a pod and the node that it is to go to.
type placement struct {
	entry *entry
	node  string
}

// place finds nodes for pods of one shape, in order, and takes the room for them in the snapshot.
// What it finds is what placing them one by one would find: after each pod, only the node that it
// went to is filtered and scored again, for nothing else has changed. The pods that are left over,
// when no node is feasible any more, come with why.
func place(pods []*entry, s *snapshot) (placed []placement, left []*entry, why diagnosis) {
	shape := pods[0].info
	feasible, score := scheduling.ChecksFor(&shape.PodInfo), scoresFor(shape)
	why.nodes = len(s.nodes)
	s.start++ // let equal nodes take turns
	ranked := make(ranking, 0, len(s.nodes))
	for i := range s.nodes {
		node := s.nodes[(s.start+i)%len(s.nodes)]
		if reasons := feasible.Run(&node.NodeInfo); len(reasons) > 0 {
			why.reject(reasons)
			continue
		}
		ranked = append(ranked, candidate{node: node, score: score(node), order: i})
	}
	heap.Init(&ranked)
	for i, pod := range pods {
		if len(ranked) == 0 {
			return placed, pods[i:], why
		}
		best := &ranked[0]
		best.node.add(pod.info)
		placed = append(placed, placement{entry: pod, node: best.node.Node.Name})
		if reasons := feasible.Run(&best.node.NodeInfo); len(reasons) > 0 {
			why.reject(reasons)
			heap.Pop(&ranked)
			continue
		}
		best.score = score(best.node)
		heap.Fix(&ranked, 0)
	}
	return placed, nil, why
}

// candidate is a feasible node. Among equal scores the earlier in order is taken.
type candidate struct {
	node  *NodeInfo
	score float64
	order int
}

// ranking is a heap with the best candidate first.
type ranking []candidate

func (r ranking) Len() int { return len(r) }
func (r ranking) Less(i, j int) bool {
	if r[i].score != r[j].score {
		return r[i].score > r[j].score
	}
	return r[i].order < r[j].order
}
func (r ranking) Swap(i, j int) { r[i], r[j] = r[j], r[i] }
func (r *ranking) Push(x any)   { *r = append(*r, x.(candidate)) }
func (r *ranking) Pop() any {
	last := (*r)[len(*r)-1]
	*r = (*r)[:len(*r)-1]
	return last
}
