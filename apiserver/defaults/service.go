package defaults

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

func applyService(svc *corev1.Service) {
	spec := &svc.Spec
	set(&spec.Type, corev1.ServiceTypeClusterIP)
	set(&spec.SessionAffinity, corev1.ServiceAffinityNone)
	applyAffinityTimeout(spec)
	for i := range spec.Ports {
		applyServicePort(&spec.Ports[i])
	}
	if reachableFromOutside(spec) {
		set(&spec.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster)
	}
	if spec.Type == corev1.ServiceTypeLoadBalancer {
		setPointer(&spec.AllocateLoadBalancerNodePorts, true)
	}
	if spec.Type != corev1.ServiceTypeExternalName {
		setPointer(&spec.InternalTrafficPolicy, corev1.ServiceInternalTrafficPolicyCluster)
		applyIPFamilies(spec)
	}
	for i := range svc.Status.LoadBalancer.Ingress {
		if ingress := &svc.Status.LoadBalancer.Ingress[i]; ingress.IP != "" {
			setPointer(&ingress.IPMode, corev1.LoadBalancerIPModeVIP)
		}
	}
}

func applyAffinityTimeout(spec *corev1.ServiceSpec) {
	if spec.SessionAffinity == corev1.ServiceAffinityNone {
		spec.SessionAffinityConfig = nil
		return
	}
	if spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return
	}
	setPointer(&spec.SessionAffinityConfig, corev1.SessionAffinityConfig{})
	setPointer(&spec.SessionAffinityConfig.ClientIP, corev1.ClientIPConfig{})
	setPointer(&spec.SessionAffinityConfig.ClientIP.TimeoutSeconds, corev1.DefaultClientIPServiceAffinitySeconds)
}

func applyServicePort(port *corev1.ServicePort) {
	set(&port.Protocol, corev1.ProtocolTCP)
	if port.TargetPort == intstr.FromInt32(0) || port.TargetPort == intstr.FromString("") {
		port.TargetPort = intstr.FromInt32(port.Port)
	}
}

func reachableFromOutside(spec *corev1.ServiceSpec) bool {
	switch spec.Type {
	case corev1.ServiceTypeNodePort, corev1.ServiceTypeLoadBalancer:
		return true
	case corev1.ServiceTypeClusterIP:
		return len(spec.ExternalIPs) > 0
	default:
		return false
	}
}

// applyIPFamilies gives a service the one address family that its own address has, IPv4 when it
// has none yet. Kubernetes does this where it allocates the address.
func applyIPFamilies(spec *corev1.ServiceSpec) {
	setPointer(&spec.IPFamilyPolicy, corev1.IPFamilyPolicySingleStack)
	if len(spec.IPFamilies) > 0 {
		return
	}
	family := corev1.IPv4Protocol
	if addr, err := netip.ParseAddr(spec.ClusterIP); err == nil && addr.Is6() {
		family = corev1.IPv6Protocol
	}
	spec.IPFamilies = []corev1.IPFamily{family}
}

func applyEndpointSlice(slice *discoveryv1.EndpointSlice) {
	for i := range slice.Ports {
		setPointer(&slice.Ports[i].Name, "")
		setPointer(&slice.Ports[i].Protocol, corev1.ProtocolTCP)
	}
}
