package pki

import (
	"crypto/tls"
	"testing"
)

func TestPeerAddresses(t *testing.T) {
	for address, want := range map[string]struct{ network, at, host, serverName string }{
		"10.0.0.1:2380":          {"tcp", "10.0.0.1:2380", "10.0.0.1", ""},
		"[::1]:2380":             {"tcp", "[::1]:2380", "::1", ""},
		"m1.example:2380":        {"tcp", "m1.example:2380", "m1.example", ""},
		SocketAddress("/run/m1"): {"unix", "/run/m1", "localhost", "localhost"},
		SocketAddress("m1:1"):    {"unix", "m1:1", "localhost", "localhost"},
	} {
		network, at := PeerNetwork(address)
		host, err := PeerHost(address)
		if network != want.network || at != want.at || host != want.host || err != nil {
			t.Errorf("%s: %s %s, host %s, %v; want %+v", address, network, at, host, err, want)
		}
		if got := PeerConfig(&tls.Config{}, address).ServerName; got != want.serverName {
			t.Errorf("%s is dialled for server name %q", address, got)
		}
	}
	if _, err := PeerHost("m1"); err == nil {
		t.Error("an address without a port has a host")
	}
}
