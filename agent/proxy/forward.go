package proxy

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// forward is one port of one service: where its traffic arrives and where it goes.
type forward struct {
	name      string // namespace/service:port, for people
	clusterIP netip.Addr
	protocol  string // tcp, udp or sctp
	port      uint16
	backends  []netip.AddrPort // sorted and unique; none: refuse
}

// chain names the forward's chain. It depends on what identifies the port alone, so that a change of
// backends rewrites one chain.
func (f forward) chain() string {
	sum := sha256.Sum256([]byte(f.name + "/" + f.protocol))
	return chainPrefix + hex.EncodeToString(sum[:8])
}

func (f forward) equal(other forward) bool {
	return f.name == other.name && f.clusterIP == other.clusterIP && f.protocol == other.protocol &&
		f.port == other.port && slices.Equal(f.backends, other.backends)
}

// forwards works out all service ports, sorted by name.
func forwards(services []*corev1.Service, endpointSlices []*discoveryv1.EndpointSlice) []forward {
	byService := map[string][]*discoveryv1.EndpointSlice{}
	for _, slice := range endpointSlices {
		key := slice.Namespace + "/" + slice.Labels[discoveryv1.LabelServiceName]
		byService[key] = append(byService[key], slice)
	}
	var all []forward
	for _, service := range services {
		ip, err := netip.ParseAddr(service.Spec.ClusterIP)
		if err != nil || !ip.Is4() {
			continue // headless, external, not allocated yet, or not of this table's family
		}
		key := service.Namespace + "/" + service.Name
		for _, port := range service.Spec.Ports {
			all = append(all, forward{
				name:      key + ":" + port.Name,
				clusterIP: ip,
				protocol:  strings.ToLower(string(cmp.Or(port.Protocol, corev1.ProtocolTCP))),
				port:      uint16(port.Port),
				backends:  backends(byService[key], port),
			})
		}
	}
	slices.SortFunc(all, func(a, b forward) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.protocol, b.protocol))
	})
	return all
}

// backends collects where a service port's traffic may go: the ready endpoints or, when there is not
// one, those that end but still serve, so that a rollout's last connections are answered.
func backends(endpointSlices []*discoveryv1.EndpointSlice, port corev1.ServicePort) []netip.AddrPort {
	var ready, ending []netip.AddrPort
	for _, slice := range endpointSlices {
		number, ok := portNumber(slice.Ports, port)
		if !ok {
			continue
		}
		for _, endpoint := range slice.Endpoints {
			for _, address := range endpoint.Addresses {
				ip, err := netip.ParseAddr(address)
				if err != nil || !ip.Is4() {
					continue
				}
				switch {
				case isTrue(endpoint.Conditions.Ready, true):
					ready = append(ready, netip.AddrPortFrom(ip, number))
				case isTrue(endpoint.Conditions.Serving, false) && isTrue(endpoint.Conditions.Terminating, false):
					ending = append(ending, netip.AddrPortFrom(ip, number))
				}
			}
		}
	}
	if len(ready) == 0 {
		ready = ending
	}
	slices.SortFunc(ready, netip.AddrPort.Compare)
	return slices.Compact(ready)
}

func portNumber(ports []discoveryv1.EndpointPort, port corev1.ServicePort) (uint16, bool) {
	for _, p := range ports {
		name := ""
		if p.Name != nil {
			name = *p.Name
		}
		if name == port.Name && p.Port != nil {
			return uint16(*p.Port), true
		}
	}
	return 0, false
}

// isTrue reads one of the API's optional conditions, for which unset has a meaning of its own.
func isTrue(condition *bool, unset bool) bool {
	if condition == nil {
		return unset
	}
	return *condition
}
