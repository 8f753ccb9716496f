package scheduling

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
// that: what the scheduler places by it, the agent admits by the same checks of resources and ports.
func Feasible(pod *corev1.Pod, node *NodeInfo) (ok bool, reasons []string) {
	info := NewPodInfo(pod)
	reasons = ChecksFor(&info).Run(node)
	return len(reasons) == 0, reasons
}

// Checks are all filters, prepared for one pod.
type Checks []Check

// ChecksFor prepares all filters for one pod.
func ChecksFor(pod *PodInfo) Checks {
	var prepared Checks
	for _, filter := range filters {
		if check := filter.For(pod); check != nil {
			prepared = append(prepared, check)
		}
	}
	return prepared
}

// Run says why a node can't take the pod; nothing when it can.
func (c Checks) Run(node *NodeInfo) []string {
	for _, check := range c {
		if reasons := check(node); len(reasons) > 0 {
			return reasons
		}
	}
	return nil
}
