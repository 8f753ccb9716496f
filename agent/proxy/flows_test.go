package proxy

import (
	"net/netip"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func flow(protocol uint8, to, answers string) *netlink.ConntrackFlow {
	dst, src := netip.MustParseAddrPort(to), netip.MustParseAddrPort(answers)
	return &netlink.ConntrackFlow{
		Forward: netlink.IPTuple{Protocol: protocol, DstIP: dst.Addr().AsSlice(), DstPort: dst.Port()},
		Reverse: netlink.IPTuple{Protocol: protocol, SrcIP: src.Addr().AsSlice(), SrcPort: src.Port()},
	}
}

func TestStaleFlows(t *testing.T) {
	dns := forward{
		name: "default/dns:dns", protocol: "udp", clusterIP: netip.MustParseAddr("10.43.0.10"), port: 53, nodePort: 30053,
		external: []netip.Addr{netip.MustParseAddr("192.0.2.9")}, backends: []netip.AddrPort{netip.MustParseAddrPort("10.42.1.2:5353")},
	}
	gone, moved := dns, dns
	gone.name, gone.clusterIP, gone.external, gone.nodePort = "default/gone:dns", netip.MustParseAddr("10.43.0.11"), nil, 0
	moved.name = "default/moved:dns" // has the cluster IP that dns had
	by := func(list ...forward) map[string]forward {
		m := map[string]forward{}
		for _, f := range list {
			m[f.chain()] = f
		}
		return m
	}
	stale := staleAfter(by(gone), by(dns))
	for _, tc := range []struct {
		name        string
		protocol    uint8
		to, answers string
		want        bool
	}{
		{"to the endpoint", unix.IPPROTO_UDP, "10.43.0.10:53", "10.42.1.2:5353", false},
		{"to one that is gone", unix.IPPROTO_UDP, "10.43.0.10:53", "10.42.1.9:5353", true},
		{"to none yet", unix.IPPROTO_UDP, "10.43.0.10:53", "10.43.0.10:53", true},
		{"by the external address", unix.IPPROTO_UDP, "192.0.2.9:53", "10.42.1.9:5353", true},
		{"by the node port", unix.IPPROTO_UDP, "172.30.1.2:30053", "10.42.1.9:5353", true},
		{"by the node port, to the endpoint", unix.IPPROTO_UDP, "172.30.1.2:30053", "10.42.1.2:5353", false},
		{"of a service that is gone", unix.IPPROTO_UDP, "10.43.0.11:53", "10.42.1.2:5353", true},
		{"TCP", unix.IPPROTO_TCP, "10.43.0.10:53", "10.42.1.9:5353", false},
		{"to somebody else", unix.IPPROTO_UDP, "203.0.113.1:53", "203.0.113.1:53", false},
	} {
		if got := stale.MatchConntrackFlow(flow(tc.protocol, tc.to, tc.answers)); got != tc.want {
			t.Errorf("%s: forgotten %v, want %v", tc.name, got, tc.want)
		}
	}
	if stale := staleAfter(by(dns), by(dns)); stale != nil {
		t.Errorf("nothing changed, and %+v is forgotten", stale)
	}
	if stale := staleAfter(by(dns), by(moved)); stale.MatchConntrackFlow(flow(unix.IPPROTO_UDP, "10.43.0.10:53", "10.42.1.2:5353")) {
		t.Error("a flow is forgotten that goes where the address's next service sends it")
	}
}
