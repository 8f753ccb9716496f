package endpointslice

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	netutils "k8s.io/utils/net"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/controller/podstate"
)

// group is endpoints that can share slices: one family of addresses, and the same ports. Pods of one service
// differ in ports when a named port has different numbers in them.
type group struct {
	family    discoveryv1.AddressType
	ports     []discoveryv1.EndpointPort
	endpoints []discoveryv1.Endpoint
}

// groupsOf is the endpoints of a service, in an order that depends on nothing else.
func groupsOf(service *corev1.Service, pods []*corev1.Pod) []group {
	pods = slices.Clone(pods)
	slices.SortFunc(pods, func(a, b *corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
	var groups []group
	at := map[string]int{}
	for _, family := range familiesOf(service) {
		for _, pod := range pods {
			address := addressOf(pod, family)
			if address == "" || podstate.Ended(pod) {
				continue
			}
			ports := portsOf(service, pod)
			key := groupKey(family, ports)
			i, ok := at[key]
			if !ok {
				i = len(groups)
				at[key] = i
				groups = append(groups, group{family: family, ports: ports})
			}
			groups[i].endpoints = append(groups[i].endpoints, endpointOf(service, pod, address))
		}
	}
	return groups
}

// familiesOf is the families of addresses that a service is reached by.
func familiesOf(service *corev1.Service) []discoveryv1.AddressType {
	var families []discoveryv1.AddressType
	for _, family := range service.Spec.IPFamilies {
		families = append(families, discoveryv1.AddressType(family))
	}
	switch {
	case len(families) > 0:
		return families
	case netutils.IsIPv6String(service.Spec.ClusterIP):
		return []discoveryv1.AddressType{discoveryv1.AddressTypeIPv6}
	}
	return []discoveryv1.AddressType{discoveryv1.AddressTypeIPv4}
}

// addressOf is a pod's address of a family; empty when it has none yet.
func addressOf(pod *corev1.Pod, family discoveryv1.AddressType) string {
	addresses := []string{pod.Status.PodIP}
	for _, ip := range pod.Status.PodIPs {
		addresses = append(addresses, ip.IP)
	}
	for _, address := range addresses {
		if address != "" && netutils.IsIPv6String(address) == (family == discoveryv1.AddressTypeIPv6) {
			return address
		}
	}
	return ""
}

// endpointOf is one pod as an endpoint. It serves as long as the pod is ready, also while that is being deleted, for
// those who have nobody else left to send to; it is ready when it serves and stays. A service that publishes what
// isn't ready has all its endpoints ready, and still says which of them serve.
func endpointOf(service *corev1.Service, pod *corev1.Pod, address string) discoveryv1.Endpoint {
	serving := podstate.Ready(pod)
	terminating := pod.DeletionTimestamp != nil
	endpoint := discoveryv1.Endpoint{
		Addresses: []string{address},
		Conditions: discoveryv1.EndpointConditions{
			Ready:       ptr.To(service.Spec.PublishNotReadyAddresses || serving && !terminating),
			Serving:     ptr.To(serving),
			Terminating: ptr.To(terminating),
		},
		TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
	}
	if pod.Spec.NodeName != "" {
		endpoint.NodeName = ptr.To(pod.Spec.NodeName)
	}
	if pod.Spec.Hostname != "" && pod.Spec.Subdomain == service.Name {
		endpoint.Hostname = ptr.To(pod.Spec.Hostname)
	}
	return endpoint
}

// portsOf is a service's ports as they are on a pod, without those that the pod doesn't have.
func portsOf(service *corev1.Service, pod *corev1.Pod) []discoveryv1.EndpointPort {
	var ports []discoveryv1.EndpointPort
	for i := range service.Spec.Ports {
		port := &service.Spec.Ports[i]
		protocol := cmp.Or(port.Protocol, corev1.ProtocolTCP)
		number, ok := targetOf(port, protocol, pod)
		if !ok {
			continue
		}
		ports = append(ports, discoveryv1.EndpointPort{
			Name:        ptr.To(port.Name),
			Protocol:    ptr.To(protocol),
			Port:        ptr.To(number),
			AppProtocol: port.AppProtocol,
		})
	}
	return ports
}

// targetOf is the number of the port that a service's port leads to on a pod.
func targetOf(port *corev1.ServicePort, protocol corev1.Protocol, pod *corev1.Pod) (int32, bool) {
	if port.TargetPort.Type == intstr.Int {
		return cmp.Or(port.TargetPort.IntVal, port.Port), true
	}
	// An init container that is restarted always runs beside the others.
	containers := slices.Clone(pod.Spec.Containers)
	for _, container := range pod.Spec.InitContainers {
		if ptr.Deref(container.RestartPolicy, "") == corev1.ContainerRestartPolicyAlways {
			containers = append(containers, container)
		}
	}
	for _, container := range containers {
		for _, p := range container.Ports {
			if p.Name == port.TargetPort.StrVal && cmp.Or(p.Protocol, corev1.ProtocolTCP) == protocol {
				return p.ContainerPort, true
			}
		}
	}
	return 0, false
}

// groupKey is equal for what can share slices.
func groupKey(family discoveryv1.AddressType, ports []discoveryv1.EndpointPort) string {
	var key strings.Builder
	key.WriteString(string(family))
	for _, port := range ports {
		fmt.Fprintf(&key, " %s/%s/%d/%s", ptr.Deref(port.Name, ""), ptr.Deref(port.Protocol, corev1.ProtocolTCP),
			ptr.Deref(port.Port, 0), ptr.Deref(port.AppProtocol, ""))
	}
	return key.String()
}
