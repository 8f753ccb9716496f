package network

import (
	"net/netip"

	"github.com/vishvananda/netlink"
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
