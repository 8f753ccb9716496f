package registry

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/ptr"
)

// updateService gives an update those addresses and ports that the service has and the update doesn't name, and takes
// from a service that changes its type what the new type has no use for. What a client changed on purpose stays, for
// validation to judge.
func updateService(obj, old Object) {
	service, before := obj.(*corev1.Service), &old.(*corev1.Service).Spec
	dropTypeFields(&service.Spec, before)
	if service.Spec.Type != corev1.ServiceTypeLoadBalancer {
		service.Status.LoadBalancer = corev1.LoadBalancerStatus{}
	}
	keepAddress(&service.Spec, before)
	keepNodePorts(&service.Spec, before)
}

// dropTypeFields drops the values that the service's former type needed, where they are as they were: most clients send
// back the whole object with another type.
func dropTypeFields(spec, before *corev1.ServiceSpec) {
	if spec.Type == corev1.ServiceTypeExternalName {
		if spec.ClusterIP == before.ClusterIP {
			spec.ClusterIP, spec.ClusterIPs = "", nil
			spec.IPFamilies, spec.IPFamilyPolicy = nil, nil
		}
		dropSame(&spec.InternalTrafficPolicy, before.InternalTrafficPolicy)
	}
	if !takesNodePorts(spec) {
		had := sets.New[int32]()
		for i := range before.Ports {
			had.Insert(before.Ports[i].NodePort)
		}
		for i := range spec.Ports {
			if had.Has(spec.Ports[i].NodePort) {
				spec.Ports[i].NodePort = 0
			}
		}
		if len(spec.ExternalIPs) == 0 && spec.ExternalTrafficPolicy == before.ExternalTrafficPolicy {
			spec.ExternalTrafficPolicy = ""
		}
	}
	if !needsHealthCheckPort(spec) && spec.HealthCheckNodePort == before.HealthCheckNodePort {
		spec.HealthCheckNodePort = 0
	}
	if spec.Type != corev1.ServiceTypeLoadBalancer {
		dropSame(&spec.AllocateLoadBalancerNodePorts, before.AllocateLoadBalancerNodePorts)
		dropSame(&spec.LoadBalancerClass, before.LoadBalancerClass)
	}
}

func dropSame[T comparable](value **T, before *T) {
	if ptr.Equal(*value, before) {
		*value = nil
	}
}

func keepAddress(spec, before *corev1.ServiceSpec) {
	if spec.Type == corev1.ServiceTypeExternalName || before.Type == corev1.ServiceTypeExternalName {
		return
	}
	if spec.ClusterIP == "" {
		spec.ClusterIP = before.ClusterIP
	}
	if len(spec.ClusterIPs) == 0 && spec.ClusterIP == before.ClusterIP {
		spec.ClusterIPs = slices.Clone(before.ClusterIPs)
	}
}

// keepNodePorts gives ports without a node port those that they had: by the port's name and, for a port that has been
// renamed, by protocol and number. A node port that the update names for another port is not given away.
func keepNodePorts(spec, before *corev1.ServiceSpec) {
	if needsHealthCheckPort(spec) && needsHealthCheckPort(before) && spec.HealthCheckNodePort == 0 {
		spec.HealthCheckNodePort = before.HealthCheckNodePort
	}
	if !allocatesNodePorts(spec) || !allocatesNodePorts(before) {
		return
	}
	used := sets.New[claim]()
	for i := range spec.Ports {
		used.Insert(portClaim(&spec.Ports[i]))
	}
	keep := func(same func(port, had *corev1.ServicePort) bool) {
		for i := range spec.Ports {
			port := &spec.Ports[i]
			at := slices.IndexFunc(before.Ports, func(had corev1.ServicePort) bool { return same(port, &had) })
			if at < 0 || port.NodePort != 0 {
				continue
			}
			kept := *port
			kept.NodePort = before.Ports[at].NodePort
			if !used.Has(portClaim(&kept)) {
				port.NodePort = kept.NodePort
				used.Insert(portClaim(port))
			}
		}
	}
	keep(func(port, had *corev1.ServicePort) bool { return port.Name == had.Name })
	keep(func(port, had *corev1.ServicePort) bool {
		return port.Port == had.Port && protocolOf(port) == protocolOf(had)
	})
}
