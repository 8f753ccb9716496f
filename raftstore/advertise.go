package raftstore

import (
	"net"
	"net/netip"
	"net/url"
	"slices"
)

// peerURLs are where this machine is told to be reached by the other members.
func (b *bootstrap) peerURLs() ([]string, error) {
	if !slices.ContainsFunc(b.PeerURLs, ofAllAddresses) {
		return b.PeerURLs, nil
	}
	host, err := outwardHost()
	if err != nil {
		return nil, err
	}
	return b.callable(b.PeerURLs, host), nil
}

// clientURLs are where this machine is told to be reached by clients. peerHost is where the members reach it.
func (b *bootstrap) clientURLs(peerHost string) ([]string, error) {
	if !slices.ContainsFunc(b.ClientURLs, ofAllAddresses) {
		return b.ClientURLs, nil
	}
	if host, _, err := net.SplitHostPort(b.ClientListen); err == nil && !unspecified(host) {
		return b.callable(b.ClientURLs, host), nil // it is served at that address alone
	}
	local, err := localAddresses()
	if err != nil {
		return nil, err
	}
	host := peerHost
	// The members' address will do, unless only this machine can call it, or it is one that the machine had once.
	if ip, err := netip.ParseAddr(host); host == "localhost" || err == nil && (ip.IsLoopback() || !slices.Contains(local, host)) {
		if host, err = outwardHost(); err != nil {
			return nil, err
		}
	}
	return b.callable(b.ClientURLs, host), nil
}

// callable takes host for the hosts that mean all addresses of a machine: nobody can call those.
func (b *bootstrap) callable(urls []string, host string) []string {
	var callable []string
	for _, text := range urls {
		if ofAllAddresses(text) {
			u, _ := url.Parse(text) // it was parsed before
			u.Host = net.JoinHostPort(host, u.Port())
			b.Logger.Warn("nobody can call an advertised URL, which means all addresses of a machine: one of them stands in for it in the list of members; advertise the one that others should call",
				"url", text, "instead", u.String())
			text = u.String()
		}
		if !slices.Contains(callable, text) {
			callable = append(callable, text)
		}
	}
	return callable
}

// ofAllAddresses tells whether a URL is of all of its machine's addresses.
func ofAllAddresses(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Scheme != "unix" && u.Scheme != "unixs" && unspecified(u.Hostname())
}

func unspecified(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.IsUnspecified()
}
