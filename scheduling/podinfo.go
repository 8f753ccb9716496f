package scheduling

import (
	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
)

// PodInfo is a pod with what it asks of a node, computed once. It is not changed after it was made.
type PodInfo struct {
	Pod      *corev1.Pod
	Requests Resources
	Ports    []HostPort
}

// NewPodInfo computes what a pod asks of a node.
func NewPodInfo(pod *corev1.Pod) PodInfo {
	return PodInfo{Pod: pod, Requests: RequestsOf(pod, nil), Ports: HostPorts(pod)}
}

// RequestsOf is what a pod asks for: what its containers and sidecars ask for together, or, where that is more, an
// init container with the sidecars that run by then; and its overhead. A container that doesn't say how much of
// something it asks for counts with what missing has of it.
func RequestsOf(pod *corev1.Pod, missing corev1.ResourceList) Resources {
	return ResourcesOf(resourcehelper.PodRequests(pod, resourcehelper.PodResourcesOptions{NonMissingContainerRequests: missing}))
}

// HostPort is a port on the node itself.
type HostPort struct {
	IP       string // empty: every address
	Protocol corev1.Protocol
	Port     int32
	// ContainerPort is where it leads to.
	ContainerPort int32
}

// HostPorts are the ports of the node that a pod asks for: those of containers and of sidecars.
func HostPorts(pod *corev1.Pod) []HostPort {
	var ports []HostPort
	add := func(c *corev1.Container) {
		for _, port := range c.Ports {
			if port.HostPort > 0 {
				ports = append(ports, newHostPort(port))
			}
		}
	}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			add(c)
		}
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i])
	}
	return ports
}

func newHostPort(port corev1.ContainerPort) HostPort {
	p := HostPort{IP: port.HostIP, Protocol: port.Protocol, Port: port.HostPort, ContainerPort: port.ContainerPort}
	if p.IP == "0.0.0.0" || p.IP == "::" {
		p.IP = ""
	}
	if p.Protocol == "" {
		p.Protocol = corev1.ProtocolTCP
	}
	return p
}

func (p HostPort) conflicts(o HostPort) bool {
	return p.Port == o.Port && p.Protocol == o.Protocol && (p.IP == o.IP || p.IP == "" || o.IP == "")
}
