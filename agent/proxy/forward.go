package proxy

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"net/netip"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// forward is one port of one service: where its traffic arrives and where it goes.
type forward struct {
	name     string // namespace/service:port, for people
	protocol string // tcp, udp or sctp

	// Traffic arrives at the cluster IP and at the external addresses, all with port, and at nodePort, when it is not 0,
	// of each address of the node.
	clusterIP netip.Addr
	external  []netip.Addr
	port      uint16
	nodePort  uint16

	// It goes to the backends or, where its policy is Local, to those of them on this node, local. Both are sorted and unique.
	backends, local              []netip.AddrPort
	internalLocal, externalLocal bool
	// affinity is for how long after its last connection a client goes to the same backend again; 0 for not at all.
	affinity time.Duration
}

// chain names the forward's chain. It depends on what identifies the port alone, so that a change of
// backends rewrites one chain.
func (f forward) chain() string {
	sum := sha256.Sum256([]byte(f.name + "/" + f.protocol))
	return chainPrefix + hex.EncodeToString(sum[:8])
}

func (f forward) equal(other forward) bool {
	return f.name == other.name && f.protocol == other.protocol &&
		f.clusterIP == other.clusterIP && slices.Equal(f.external, other.external) && f.port == other.port && f.nodePort == other.nodePort &&
		slices.Equal(f.backends, other.backends) && slices.Equal(f.local, other.local) &&
		f.internalLocal == other.internalLocal && f.externalLocal == other.externalLocal && f.affinity == other.affinity
}

// addresses are those at which the forward's traffic arrives, but for its node port.
func (f forward) addresses() []netip.AddrPort {
	all := []netip.AddrPort{netip.AddrPortFrom(f.clusterIP, f.port)}
	for _, ip := range f.external {
		all = append(all, netip.AddrPortFrom(ip, f.port))
	}
	return all
}

// forwards works out all service ports as the node of the given name sees them, sorted by name.
func forwards(services []*corev1.Service, endpointSlices []*discoveryv1.EndpointSlice, node string) []forward {
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
		spec := &service.Spec
		for _, port := range spec.Ports {
			f := forward{
				name:          key + ":" + port.Name,
				protocol:      strings.ToLower(string(cmp.Or(port.Protocol, corev1.ProtocolTCP))),
				clusterIP:     ip,
				external:      externalIPs(spec),
				port:          uint16(port.Port),
				nodePort:      uint16(port.NodePort),
				internalLocal: spec.InternalTrafficPolicy != nil && *spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal,
				externalLocal: spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
				affinity:      affinityOf(spec),
			}
			f.backends, f.local = backends(byService[key], port, node)
			all = append(all, f)
		}
	}
	slices.SortFunc(all, func(a, b forward) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.protocol, b.protocol))
	})
	return all
}

func externalIPs(spec *corev1.ServiceSpec) []netip.Addr {
	var ips []netip.Addr
	for _, text := range spec.ExternalIPs {
		if ip, err := netip.ParseAddr(text); err == nil && ip.Is4() {
			ips = append(ips, ip)
		}
	}
	slices.SortFunc(ips, netip.Addr.Compare)
	return slices.Compact(ips)
}

func affinityOf(spec *corev1.ServiceSpec) time.Duration {
	if spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return 0
	}
	seconds := corev1.DefaultClientIPServiceAffinitySeconds
	if c := spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
		seconds = *c.ClientIP.TimeoutSeconds
	}
	return time.Duration(seconds) * time.Second
}

// backends collects where a service port's traffic may go, and which of that is on this node: the ready endpoints or, when
// there is not one, those that end but still serve, so that a rollout's last connections are answered.
func backends(endpointSlices []*discoveryv1.EndpointSlice, port corev1.ServicePort, node string) (all, local []netip.AddrPort) {
	var anywhere, here candidates
	for _, slice := range endpointSlices {
		number, ok := portNumber(slice.Ports, port)
		if !ok {
			continue
		}
		for i := range slice.Endpoints {
			endpoint := &slice.Endpoints[i]
			for _, address := range endpoint.Addresses {
				ip, err := netip.ParseAddr(address)
				if err != nil || !ip.Is4() {
					continue
				}
				anywhere.add(endpoint.Conditions, netip.AddrPortFrom(ip, number))
				if endpoint.NodeName != nil && *endpoint.NodeName == node {
					here.add(endpoint.Conditions, netip.AddrPortFrom(ip, number))
				}
			}
		}
	}
	return anywhere.chosen(), here.chosen()
}

// candidates are endpoints by what may be sent to them.
type candidates struct{ ready, ending []netip.AddrPort }

func (c *candidates) add(conditions discoveryv1.EndpointConditions, backend netip.AddrPort) {
	switch {
	case isTrue(conditions.Ready, true):
		c.ready = append(c.ready, backend)
	case isTrue(conditions.Serving, false) && isTrue(conditions.Terminating, false):
		c.ending = append(c.ending, backend)
	}
}

func (c *candidates) chosen() []netip.AddrPort {
	list := c.ready
	if len(list) == 0 {
		list = c.ending
	}
	slices.SortFunc(list, netip.AddrPort.Compare)
	return slices.Compact(list)
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
