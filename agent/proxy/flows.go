package proxy

import (
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// forgetFlows deletes the entries of the kernel's connection table that match.
func forgetFlows(stale netlink.CustomConntrackFilter) error {
	_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.FAMILY_V4, stale)
	return err
}

// staleFlows matches UDP flows to a service that go where the service does not go any more. Rules decide on the first
// packet of a flow only, and UDP has no end: who goes on sending would go on reaching a pod that is gone, or that has
// passed its address on.
type staleFlows struct {
	services  map[netip.AddrPort]destinations // by where traffic arrives
	nodePorts map[uint16]destinations
}

// destinations are where a service's traffic may go.
type destinations map[netip.AddrPort]bool

// staleAfter is what must be forgotten after a change from old to next, both by chain; nil when that is nothing. What an
// earlier proxy has left is not known, so the first change holds all services against the flows.
func staleAfter(old, next map[string]forward) *staleFlows {
	stale := &staleFlows{map[netip.AddrPort]destinations{}, map[uint16]destinations{}}
	for chain, f := range old { // whose addresses may be another's in next
		if now, stays := next[chain]; f.protocol == "udp" && (!stays || !f.equal(now)) {
			stale.add(f, destinations{})
		}
	}
	for chain, f := range next {
		if before, known := old[chain]; f.protocol == "udp" && (!known || !f.equal(before)) {
			to := destinations{}
			for _, backend := range slices.Concat(f.backends, f.local) {
				to[backend] = true
			}
			stale.add(f, to)
		}
	}
	if len(stale.services) == 0 {
		return nil
	}
	return stale
}

func (s *staleFlows) add(f forward, to destinations) {
	for _, address := range f.addresses() {
		s.services[address] = to
	}
	if f.nodePort != 0 {
		s.nodePorts[f.nodePort] = to
	}
}

// MatchConntrackFlow says whether a flow is to be forgotten.
func (s *staleFlows) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	if flow.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	answers := addrPort(flow.Reverse.SrcIP, flow.Reverse.SrcPort)
	if to, ours := s.services[addrPort(flow.Forward.DstIP, flow.Forward.DstPort)]; ours {
		return !to[answers]
	}
	// A flow to that port of another machine may be among them: it begins anew with its next packet, and goes where it went.
	to, ours := s.nodePorts[flow.Forward.DstPort]
	return ours && !to[answers]
}

func addrPort(ip []byte, port uint16) netip.AddrPort {
	address, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(address.Unmap(), port)
}
