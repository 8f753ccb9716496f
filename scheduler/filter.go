package scheduler

import (
	corev1 "k8s.io/api/core/v1"
)

// Filter rules out nodes that can't take a pod.
type Filter interface {
	Name() string
	// For prepares the filter for one pod; nil when it has nothing against any node.
	For(pod *PodInfo) Check
}

// Check tells why a node can't take the pod that it was made for; nothing when it can. The words are
// kube-scheduler's, because people and tools look for them.
type Check func(node *NodeInfo) (reasons []string)

// filters is every filter, those that need the least first: the first one that rejects a node explains it.
var filters = []Filter{
	nodeUnschedulable{}, nodeName{}, taintToleration{}, nodeAffinity{}, nodePorts{}, resourcesFit{},
}

// Feasible tells whether a node can take a pod, and if not, why. It is the one place that decides
// that: the scheduler's passes and retries ask it, and so may whoever admits pods elsewhere.
func Feasible(pod *corev1.Pod, node *NodeInfo) (ok bool, reasons []string) {
	reasons = checksFor(NewPodInfo(pod)).run(node)
	return len(reasons) == 0, reasons
}

// checks are all filters, prepared for one pod.
type checks []Check

func checksFor(pod *PodInfo) checks {
	var prepared checks
	for _, filter := range filters {
		if check := filter.For(pod); check != nil {
			prepared = append(prepared, check)
		}
	}
	return prepared
}

func (c checks) run(node *NodeInfo) []string {
	for _, check := range c {
		if reasons := check(node); len(reasons) > 0 {
			return reasons
		}
	}
	return nil
}
