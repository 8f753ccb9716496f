package scheduler

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// nodePorts keeps two pods from the same port of a node.
type nodePorts struct{}

func (nodePorts) Name() string { return "NodePorts" }

func (nodePorts) For(pod *PodInfo) Check {
	if len(pod.ports) == 0 {
		return nil
	}
	reasons := []string{"node(s) didn't have free ports for the requested pod ports"}
	return func(node *NodeInfo) []string {
		for _, port := range pod.ports {
			if slices.ContainsFunc(node.ports, port.conflicts) {
				return reasons
			}
		}
		return nil
	}
}

// resourcesFit keeps pods from nodes on which too little is left of what they ask for.
type resourcesFit struct{}

func (resourcesFit) Name() string { return "NodeResourcesFit" }

func (resourcesFit) For(pod *PodInfo) Check {
	asked := &pod.Requests
	extended := slices.Sorted(maps.Keys(asked.Extended))
	return func(node *NodeInfo) []string {
		var reasons []string
		check := func(name corev1.ResourceName, asked, requested, allocatable int64) {
			if asked > 0 && asked > allocatable-requested {
				reasons = append(reasons, "Insufficient "+string(name))
			}
		}
		if node.pods+1 > node.maxPods {
			reasons = append(reasons, "Too many pods")
		}
		check(corev1.ResourceCPU, asked.MilliCPU, node.requested.MilliCPU, node.allocatable.MilliCPU)
		check(corev1.ResourceMemory, asked.Memory, node.requested.Memory, node.allocatable.Memory)
		check(corev1.ResourceEphemeralStorage, asked.EphemeralStorage, node.requested.EphemeralStorage, node.allocatable.EphemeralStorage)
		for _, name := range extended {
			check(name, asked.Extended[name], node.requested.Extended[name], node.allocatable.Extended[name])
		}
		return reasons
	}
}
