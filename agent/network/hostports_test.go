package network

import (
	"net/netip"
	"testing"

	"sigs.k8s.io/knftables"
)

// TestHostPortsAreKnownFromTheKernelAlone claims and releases by tables that remember nothing.
func TestHostPortsAreKnownFromTheKernelAlone(t *testing.T) {
	fake := knftables.NewFake(knftables.IPv4Family, hostPortTable)
	one, two := netip.MustParseAddr("10.42.1.2"), netip.MustParseAddr("10.42.1.3")
	if err := (&hostPorts{nft: fake}).release(t.Context(), one); err != nil {
		t.Errorf("releasing what nobody claimed: %v", err)
	}
	ports := []HostPort{{Protocol: "tcp", Port: 80, PodPort: 8080}, {Protocol: "udp", HostIP: netip.MustParseAddr("192.0.2.1"), Port: 53, PodPort: 5353}}
	for _, ip := range []netip.Addr{one, one, two} { // claimed twice, and left behind by a pod whose end was not seen
		if err := (&hostPorts{nft: fake}).claim(t.Context(), ip, ports); err != nil {
			t.Fatal(err)
		}
	}
	if err := (&hostPorts{nft: fake}).release(t.Context(), one); err != nil {
		t.Error(err)
	}
	if all, err := (&hostPorts{nft: fake}).elements(t.Context()); err != nil || len(all) != 2 || all[0].Value[0] != two.String() || all[1].Value[0] != two.String() {
		t.Errorf("ports %v, %v; want those of the pod that has them now", all, err)
	}
	for range 2 {
		if err := (&hostPorts{nft: fake}).release(t.Context(), two); err != nil {
			t.Error(err)
		}
	}
	if all, err := (&hostPorts{nft: fake}).elements(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("ports %v, %v; want none", all, err)
	}
}
