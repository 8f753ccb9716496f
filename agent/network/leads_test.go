package network

import (
	"net/netip"
	"testing"
)

func TestAddressesOfTheNodesRangeLeadToIt(t *testing.T) {
	n := &Network{}
	ip := netip.MustParseAddr("10.42.1.7")
	if !n.Leads(ip) {
		t.Error("an address leads elsewhere while the node's range is not known")
	}
	for podRange, want := range map[string]bool{"10.42.1.0/24": true, "10.42.2.0/24": false} {
		n.podRange = netip.MustParsePrefix(podRange)
		if n.Leads(ip) != want {
			t.Errorf("with the range %s, %s leads to the node: %v", podRange, ip, !want)
		}
	}
}
