package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/netip"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"
)

const (
	addressDomain = "clusterips"
	portDomain    = "nodeports"
	// staticBand is how many of the lowest addresses are left to services that ask for one by name, as
	// long as there are others.
	staticBand = 256
)

// serviceClaims are the addresses and node ports that a service holds.
func serviceClaims(obj Object) []claim {
	spec := &obj.(*corev1.Service).Spec
	if spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	var claims []claim
	if hasAddress(spec) {
		claims = append(claims, claim{addressDomain, spec.ClusterIP})
	}
	if !takesNodePorts(spec) {
		return claims
	}
	for i := range spec.Ports {
		if port := &spec.Ports[i]; port.NodePort != 0 {
			claims = append(claims, portClaim(port))
		}
	}
	if spec.HealthCheckNodePort != 0 {
		claims = append(claims, portClaim(healthCheckPort(spec)))
	}
	return claims
}

func hasAddress(spec *corev1.ServiceSpec) bool {
	return spec.ClusterIP != "" && spec.ClusterIP != corev1.ClusterIPNone
}

func takesNodePorts(spec *corev1.ServiceSpec) bool {
	return spec.Type == corev1.ServiceTypeNodePort || spec.Type == corev1.ServiceTypeLoadBalancer
}

// allocatesNodePorts tells whether ports that name no node port are given one.
func allocatesNodePorts(spec *corev1.ServiceSpec) bool {
	return takesNodePorts(spec) && ptr.Deref(spec.AllocateLoadBalancerNodePorts, true)
}

// needsHealthCheckPort tells whether load balancers ask each node whether it has endpoints of its own.
func needsHealthCheckPort(spec *corev1.ServiceSpec) bool {
	return spec.Type == corev1.ServiceTypeLoadBalancer && spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// healthCheckPort is the health check's node port, which is HTTP, in the form of the others.
func healthCheckPort(spec *corev1.ServiceSpec) *corev1.ServicePort {
	return &corev1.ServicePort{Protocol: corev1.ProtocolTCP, NodePort: spec.HealthCheckNodePort}
}

func portClaim(port *corev1.ServicePort) claim {
	return claim{portDomain, strconv.Itoa(int(port.NodePort)) + "/" + string(protocolOf(port))}
}

// protocolOf is a port's protocol, also before it has been defaulted.
func protocolOf(port *corev1.ServicePort) corev1.Protocol {
	return cmp.Or(port.Protocol, corev1.ProtocolTCP)
}

// allocateService gives a service an address and node ports where it needs and doesn't name them, and
// refuses those that are out of range. Whether they are free is decided when the claims are written;
// what is chosen here is free as far as the cache knows.
func allocateService(ctx context.Context, r *Registry, obj Object) error {
	service := obj.(*corev1.Service)
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	err := r.allocateAll(service)
	if !errors.Is(err, errExhausted) {
		return err
	}
	if err := r.refresh(ctx); err != nil { // something may have been given back just now
		return err
	}
	if err = r.allocateAll(service); errors.Is(err, errExhausted) {
		return apierrors.NewInternalError(err)
	}
	return err
}

// errExhausted says that all values of a range are taken, as far as the cache knows.
var errExhausted = errors.New("the range is full")

func (r *Registry) allocateAll(service *corev1.Service) error {
	if err := r.allocateAddress(service); err != nil {
		return err
	}
	return r.allocatePorts(service)
}

func (r *Registry) allocateAddress(service *corev1.Service) error {
	spec := &service.Spec
	if spec.ClusterIP == "" && len(spec.ClusterIPs) > 0 {
		spec.ClusterIP = spec.ClusterIPs[0]
	}
	if spec.ClusterIP == "" {
		addr, ok := freeAddress(r.opts.ServiceCIDR, r.taken(addressDomain))
		if !ok {
			return fmt.Errorf("failed to allocate a service IP from %s: %w", r.opts.ServiceCIDR, errExhausted)
		}
		spec.ClusterIP = addr.String()
	}
	if len(spec.ClusterIPs) == 0 {
		spec.ClusterIPs = []string{spec.ClusterIP}
	}
	if spec.ClusterIP == corev1.ClusterIPNone {
		return nil
	}
	addr, err := netip.ParseAddr(spec.ClusterIP)
	if err != nil || !usable(r.opts.ServiceCIDR, addr) {
		return invalidService(service, field.Invalid(field.NewPath("spec", "clusterIPs").Index(0), spec.ClusterIP,
			fmt.Sprintf("failed to allocate IP %s: the provided IP is not in the valid range. The range of valid IPs is %s", spec.ClusterIP, r.opts.ServiceCIDR)))
	}
	return nil
}

// usable tells whether a service may have the address: not the network's own nor its broadcast.
func usable(cidr netip.Prefix, addr netip.Addr) bool {
	return cidr.Contains(addr) && addr != cidr.Masked().Addr() && addr != nthAddress(cidr, addressCount(cidr)-1)
}

func addressCount(cidr netip.Prefix) uint64 { return 1 << (32 - cidr.Bits()) }

func nthAddress(cidr netip.Prefix, n uint64) netip.Addr {
	base := cidr.Masked().Addr().As4()
	sum := uint32(base[0])<<24 | uint32(base[1])<<16 | uint32(base[2])<<8 | uint32(base[3])
	sum += uint32(n)
	return netip.AddrFrom4([4]byte{byte(sum >> 24), byte(sum >> 16), byte(sum >> 8), byte(sum)})
}

// freeAddress picks an address that nobody holds, by chance: first above the static band, then in it.
func freeAddress(cidr netip.Prefix, taken map[string]bool) (netip.Addr, bool) {
	count := addressCount(cidr)
	band := min(staticBand, max(16, count/16))
	if band >= count {
		band = 1
	}
	for _, part := range [][2]uint64{{band, count}, {1, band}} {
		size := part[1] - part[0]
		if size == 0 {
			continue
		}
		offset := rand.N(size)
		for i := range size {
			addr := nthAddress(cidr, part[0]+(offset+i)%size)
			if usable(cidr, addr) && !taken[addr.String()] {
				return addr, true
			}
		}
	}
	return netip.Addr{}, false
}

// taken lists what the cached services hold of a domain.
func (r *Registry) taken(domain string) map[string]bool {
	taken := map[string]bool{}
	r.services.cache.all()(func(e *entry) bool {
		for _, c := range serviceClaims(e.object) {
			if c.domain == domain {
				taken[c.value] = true
			}
		}
		return true
	})
	return taken
}

func (r *Registry) allocatePorts(service *corev1.Service) error {
	spec := &service.Spec
	chooser := &portChooser{registry: r, asked: map[string]bool{}}
	if takesNodePorts(spec) {
		for i := range spec.Ports {
			chooser.asked[portClaim(&spec.Ports[i]).value] = true
		}
		for i := range spec.Ports {
			path := field.NewPath("spec", "ports").Index(i).Child("nodePort")
			if err := chooser.settle(service, &spec.Ports[i], allocatesNodePorts(spec), path); err != nil {
				return err
			}
		}
	}
	if !needsHealthCheckPort(spec) {
		return nil
	}
	check := healthCheckPort(spec)
	err := chooser.settle(service, check, true, field.NewPath("spec", "healthCheckNodePort"))
	spec.HealthCheckNodePort = check.NodePort
	return err
}

// portChooser chooses node ports that neither other services have nor another port of the same service asks for.
type portChooser struct {
	registry *Registry
	asked    map[string]bool // by the values of claims
	taken    map[string]bool // likewise; nil until a port has to be chosen
}

// settle checks the node port that is asked for or, if none is and one is needed, chooses one.
func (c *portChooser) settle(service *corev1.Service, port *corev1.ServicePort, needed bool, path *field.Path) error {
	bounds := c.registry.opts.NodePorts
	switch {
	case port.NodePort != 0 && (port.NodePort < bounds.First || port.NodePort > bounds.Last):
		return invalidService(service, field.Invalid(path, port.NodePort,
			fmt.Sprintf("provided port is not in the valid range. The range of valid ports is %d-%d", bounds.First, bounds.Last)))
	case port.NodePort != 0 || !needed:
		return nil
	}
	if c.taken == nil {
		c.taken = c.registry.taken(portDomain)
		maps.Copy(c.taken, c.asked)
	}
	if !choosePort(port, bounds, c.taken) {
		return fmt.Errorf("failed to allocate a nodePort from %d-%d: %w", bounds.First, bounds.Last, errExhausted)
	}
	c.taken[portClaim(port).value] = true
	return nil
}

func choosePort(port *corev1.ServicePort, bounds PortRange, taken map[string]bool) bool {
	size := bounds.Last - bounds.First + 1
	offset := rand.N(size)
	for i := range size {
		port.NodePort = bounds.First + (offset+i)%size
		if !taken[portClaim(port).value] {
			return true
		}
	}
	port.NodePort = 0
	return false
}

func invalidService(service *corev1.Service, err *field.Error) error {
	return apierrors.NewInvalid(corev1.SchemeGroupVersion.WithKind("Service").GroupKind(), service.Name, field.ErrorList{err})
}

// takenErrors says which field asked for a value that another service holds.
func takenErrors(domain, value string) field.ErrorList {
	if domain == podRangeDomain {
		return field.ErrorList{field.Invalid(field.NewPath("spec", "podCIDRs").Index(0), value, "another node has this range")}
	}
	if domain == portDomain {
		return field.ErrorList{field.Invalid(field.NewPath("spec", "ports").Child("nodePort"), value, "provided port is already allocated")}
	}
	return field.ErrorList{field.Invalid(field.NewPath("spec", "clusterIPs").Index(0), value,
		fmt.Sprintf("failed to allocate IP %s: provided IP is already allocated", value))}
}
