package proxy

import (
	"net/netip"

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
type staleFlows map[netip.AddrPort]map[netip.AddrPort]bool // address of the service → where its traffic may go

// staleAfter is what must be forgotten after a change from old to next, both by chain; nil when that is nothing. What an
// earlier proxy has left is not known, so the first change holds all services against the flows.
func staleAfter(old, next map[string]forward) staleFlows {
	stale := staleFlows{}
	for chain, f := range next {
		if before, known := old[chain]; f.protocol == "udp" && (!known || !f.equal(before)) {
			stale.add(f)
		}
	}
	for chain, f := range old {
		address := netip.AddrPortFrom(f.clusterIP, f.port)
		if _, stays := next[chain]; f.protocol == "udp" && !stays && stale[address] == nil {
			stale[address] = map[netip.AddrPort]bool{}
		}
	}
	if len(stale) == 0 {
		return nil
	}
	return stale
}

func (s staleFlows) add(f forward) {
	backends := make(map[netip.AddrPort]bool, len(f.backends))
	for _, backend := range f.backends {
		backends[backend] = true
	}
	s[netip.AddrPortFrom(f.clusterIP, f.port)] = backends
}

// MatchConntrackFlow says whether a flow is to be forgotten.
func (s staleFlows) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	if flow.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	backends, ours := s[addrPort(flow.Forward.DstIP, flow.Forward.DstPort)]
	return ours && !backends[addrPort(flow.Reverse.SrcIP, flow.Reverse.SrcPort)]
}

func addrPort(ip []byte, port uint16) netip.AddrPort {
	address, _ := netip.AddrFromSlice(ip)
	return netip.AddrPortFrom(address.Unmap(), port)
}
