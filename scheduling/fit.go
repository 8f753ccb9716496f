package scheduling

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// nodePorts keeps two pods from the same port of a node.
type nodePorts struct{}

func (nodePorts) Name() string { return "NodePorts" }

func (nodePorts) For(pod *PodInfo) Check {
	if len(pod.Ports) == 0 {
		return nil
	}
	reasons := []string{"node(s) didn't have free ports for the requested pod ports"}
	return func(node *NodeInfo) []string {
		if len(PortConflicts(pod, node)) > 0 {
			return reasons
		}
		return nil
	}
}

// PortConflicts are the host ports that a pod asks for and that a pod of the node has.
func PortConflicts(pod *PodInfo, node *NodeInfo) []HostPort {
	var taken []HostPort
	for _, port := range pod.Ports {
		if slices.ContainsFunc(node.Ports, port.conflicts) {
			taken = append(taken, port)
		}
	}
	return taken
}

// resourcesFit keeps pods from nodes on which too little is left of what they ask for.
type resourcesFit struct{}

func (resourcesFit) Name() string { return "NodeResourcesFit" }

func (resourcesFit) For(pod *PodInfo) Check {
	extended := slices.Sorted(maps.Keys(pod.Requests.Extended))
	return func(node *NodeInfo) []string {
		var reasons []string
		eachShortage(pod, node, extended, func(s Shortage) { reasons = append(reasons, s.reason()) })
		return reasons
	}
}

// Shortage is something that a node has too little of for a pod, in the resource's own unit: thousandths of a CPU,
// bytes, pieces.
type Shortage struct {
	Resource                  corev1.ResourceName
	Requested, Used, Capacity int64
}

func (s Shortage) reason() string {
	if s.Resource == corev1.ResourcePods {
		return "Too many pods"
	}
	return "Insufficient " + string(s.Resource)
}

// Shortages are all that a node has too little of for a pod besides those that it has.
func Shortages(pod *PodInfo, node *NodeInfo) []Shortage {
	var all []Shortage
	eachShortage(pod, node, slices.Sorted(maps.Keys(pod.Requests.Extended)), func(s Shortage) { all = append(all, s) })
	return all
}

// eachShortage is Shortages for who asks for many nodes; extended is the names of the pod's extended resources, in order.
func eachShortage(pod *PodInfo, node *NodeInfo, extended []corev1.ResourceName, tell func(Shortage)) {
	check := func(name corev1.ResourceName, asked, used, capacity int64) {
		if asked > 0 && asked > capacity-used {
			tell(Shortage{Resource: name, Requested: asked, Used: used, Capacity: capacity})
		}
	}
	asked, used, capacity := &pod.Requests, &node.Requested, &node.Allocatable
	check(corev1.ResourcePods, 1, node.Pods, node.MaxPods)
	check(corev1.ResourceCPU, asked.MilliCPU, used.MilliCPU, capacity.MilliCPU)
	check(corev1.ResourceMemory, asked.Memory, used.Memory, capacity.Memory)
	check(corev1.ResourceEphemeralStorage, asked.EphemeralStorage, used.EphemeralStorage, capacity.EphemeralStorage)
	for _, name := range extended {
		check(name, asked.Extended[name], used.Extended[name], capacity.Extended[name])
	}
}
