package scheduler

import (
	"math"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"github.com/ctlplane/ctlplane/scheduling"
)

// maxScore is what a scorer gives to the best node that there can be; the worst gets 0.
const maxScore = 100

// Scorer ranks the nodes that can take a pod. A node's score depends on that node and the pod alone,
// so that after a placement only one node has to be scored again.
type Scorer interface {
	Name() string
	Weight() float64
	// For prepares the scorer for one pod; nil when all nodes are the same to it.
	For(pod *PodInfo) Score
}

// Score ranks one node from 0 to maxScore for the pod that it was made for.
type Score func(node *NodeInfo) float64

var scorers = []Scorer{leastAllocated{}, balancedAllocation{}, ownerSpread{}, preferredTaints{}, preferredAffinity{}}

// scoresFor is the weighted sum of all scorers, prepared for one pod.
func scoresFor(pod *PodInfo) Score {
	type weighted struct {
		score  Score
		weight float64
	}
	var prepared []weighted
	for _, scorer := range scorers {
		if score := scorer.For(pod); score != nil {
			prepared = append(prepared, weighted{score, scorer.Weight()})
		}
	}
	return func(node *NodeInfo) float64 {
		var sum float64
		for _, w := range prepared {
			sum += w.weight * w.score(node)
		}
		return sum
	}
}

// fractions are the parts of a node's CPU and memory that are taken once the pod is there, at most 1.
func fractions(pod *PodInfo, node *NodeInfo) (cpu, memory float64) {
	part := func(taken, of int64) float64 {
		if of <= 0 {
			return 1
		}
		return min(1, float64(taken)/float64(of))
	}
	return part(node.scored.MilliCPU+pod.scored.MilliCPU, node.Allocatable.MilliCPU),
		part(node.scored.Memory+pod.scored.Memory, node.Allocatable.Memory)
}

// leastAllocated prefers nodes on which more is left.
type leastAllocated struct{}

func (leastAllocated) Name() string    { return "NodeResourcesLeastAllocated" }
func (leastAllocated) Weight() float64 { return 1 }
func (leastAllocated) For(pod *PodInfo) Score {
	return func(node *NodeInfo) float64 {
		cpu, memory := fractions(pod, node)
		return maxScore * (2 - cpu - memory) / 2
	}
}

// balancedAllocation prefers nodes on which CPU and memory would run out together.
type balancedAllocation struct{}

func (balancedAllocation) Name() string    { return "NodeResourcesBalancedAllocation" }
func (balancedAllocation) Weight() float64 { return 1 }
func (balancedAllocation) For(pod *PodInfo) Score {
	return func(node *NodeInfo) float64 {
		cpu, memory := fractions(pod, node)
		return maxScore * (1 - math.Abs(cpu-memory)/2)
	}
}

// ownerSpread prefers nodes with fewer pods of the same controller, so that the loss of one node
// takes as few of them as possible.
type ownerSpread struct{}

func (ownerSpread) Name() string    { return "OwnerSpread" }
func (ownerSpread) Weight() float64 { return 2 }
func (ownerSpread) For(pod *PodInfo) Score {
	if pod.owner == "" {
		return nil
	}
	return func(node *NodeInfo) float64 { return maxScore / float64(1+node.owners[pod.owner]) }
}

// preferredTaints prefers nodes with fewer PreferNoSchedule taints that the pod doesn't tolerate.
type preferredTaints struct{}

func (preferredTaints) Name() string    { return "TaintToleration" }
func (preferredTaints) Weight() float64 { return 3 }
func (preferredTaints) For(pod *PodInfo) Score {
	return func(node *NodeInfo) float64 {
		var against int
		for i := range node.Taints {
			if taint := &node.Taints[i]; taint.Effect == corev1.TaintEffectPreferNoSchedule && !scheduling.Tolerates(pod.Pod.Spec.Tolerations, taint) {
				against++
			}
		}
		return maxScore / float64(1+against)
	}
}

// preferredAffinity prefers nodes that match more of the pod's preferred node affinity, by its weights.
type preferredAffinity struct{}

func (preferredAffinity) Name() string    { return "NodeAffinity" }
func (preferredAffinity) Weight() float64 { return 2 }
func (preferredAffinity) For(pod *PodInfo) Score {
	affinity := pod.Pod.Spec.Affinity
	if affinity == nil || affinity.NodeAffinity == nil {
		return nil
	}
	terms := affinity.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution
	preferred, err := nodeaffinity.NewPreferredSchedulingTerms(terms)
	var total float64
	for _, term := range terms {
		total += float64(term.Weight)
	}
	if err != nil || total == 0 {
		return nil // a preference that can't be read prefers nothing
	}
	return func(node *NodeInfo) float64 { return maxScore * float64(preferred.Score(node.Node)) / total }
}
