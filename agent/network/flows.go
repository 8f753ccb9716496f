package network

import (
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// forgetFlows makes the kernel forget the connections that an address is part of. Its entries for UDP live on without the
// pod, as long as somebody sends: they would lead to whoever has the address next.
func forgetFlows(ip netip.Addr) error {
	var filters []netlink.CustomConntrackFilter
	for _, end := range []netlink.ConntrackFilterType{netlink.ConntrackOrigSrcIP, netlink.ConntrackOrigDstIP, netlink.ConntrackReplyAnyIP} {
		filter := &netlink.ConntrackFilter{}
		if err := filter.AddIP(end, ip.AsSlice()); err != nil {
			return err
		}
		filters = append(filters, filter)
	}
	_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.FAMILY_V4, filters...)
	return err
}

// pastPorts matches UDP flows to host ports that go to the node itself: they began before the port led to a pod, and
// would go on past it for as long as somebody sends.
type pastPorts map[uint16]bool

// MatchConntrackFlow says whether a flow is to be forgotten.
func (p pastPorts) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	return flow.Forward.Protocol == unix.IPPROTO_UDP && p[flow.Forward.DstPort] && flow.Reverse.SrcIP.Equal(flow.Forward.DstIP)
}

func forgetPast(ports []HostPort) error {
	past := pastPorts{}
	for _, port := range ports {
		if port.Protocol == "udp" {
			past[port.Port] = true
		}
	}
	if len(past) == 0 {
		return nil
	}
	_, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, netlink.FAMILY_V4, past)
	return err
}
