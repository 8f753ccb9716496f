package raftstore

import (
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/ctlplane/ctlplane/pki"
)

// DefaultPeerPort is the peer port of an address that names none.
const DefaultPeerPort = "2380"

// Peer is one entry of the list of masters that all of them are started with.
type Peer struct {
	Name    string // may be empty
	Address string // host:port, or unix://path; see pki.PeerNetwork
}

// ParsePeers reads a list of masters: [name=]host[:port], separated by commas.
func ParsePeers(list string) ([]Peer, error) {
	var peers []Peer
	for entry := range strings.SplitSeq(list, ",") {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue
		}
		name, address, named := strings.Cut(entry, "=")
		if !named {
			name, address = "", entry
		}
		address, err := withPort(address, DefaultPeerPort)
		if err != nil {
			return nil, fmt.Errorf("peer %q: %w; write [name=]host[:port]", entry, err)
		}
		if slices.ContainsFunc(peers, func(p Peer) bool { return p.Address == address || (name != "" && p.Name == name) }) {
			return nil, fmt.Errorf("peer %q is in the list twice", entry)
		}
		peers = append(peers, Peer{Name: name, Address: address})
	}
	return peers, nil
}

// withPort completes an address that may lack its port.
func withPort(address, port string) (string, error) {
	if network, _ := pki.PeerNetwork(address); network == "unix" {
		return address, nil
	}
	host, given, err := net.SplitHostPort(address)
	if err != nil {
		host, given = strings.Trim(address, "[]"), port
		if strings.Contains(host, ":") && net.ParseIP(host) == nil {
			return "", err
		}
	}
	if host == "" {
		return "", fmt.Errorf("no host")
	}
	if n, err := strconv.ParseUint(given, 10, 16); err != nil || n == 0 {
		return "", fmt.Errorf("port %q is not between 1 and 65535", given)
	}
	return net.JoinHostPort(host, given), nil
}

// findSelf finds the entry that is this machine: by name, or without one by an address that is one of this
// machine's interfaces' with the peer port that it listens on.
func findSelf(peers []Peer, name, listen string) (int, error) {
	if name != "" {
		if i := slices.IndexFunc(peers, func(p Peer) bool { return p.Name == name }); i >= 0 {
			return i, nil
		}
	}
	if network, _ := pki.PeerNetwork(listen); network == "unix" {
		return 0, fmt.Errorf("the list of peers (%s) does not name %q, and who listens on a socket is found by its name alone: give the name that it has there with --name",
			formatPeers(peers), name)
	}
	_, port, err := net.SplitHostPort(listen)
	if listen != "" && err != nil {
		return 0, fmt.Errorf("peer address %q: %w", listen, err)
	}
	local, err := localAddresses()
	if err != nil {
		return 0, err
	}
	var found []int
	for i, peer := range peers {
		host, peerPort, _ := net.SplitHostPort(peer.Address)
		if name != "" && peer.Name != "" || (port != "" && port != peerPort) {
			continue // another name, or another port of this machine
		}
		if isLocal(host, local) {
			found = append(found, i)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return 0, fmt.Errorf("the list of peers (%s) does not name this machine: add it as name=host:port with --name, or list one of its addresses (%s) with its peer port",
			formatPeers(peers), strings.Join(local, ", "))
	default:
		return 0, fmt.Errorf("several entries of the list of peers (%s) are this machine: give each a name, and this one's with --name", formatPeers(peers))
	}
}

func formatPeers(peers []Peer) string {
	entries := make([]string, len(peers))
	for i, p := range peers {
		entries[i] = p.Address
		if p.Name != "" {
			entries[i] = p.Name + "=" + p.Address
		}
	}
	return strings.Join(entries, ",")
}

func localAddresses() ([]string, error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return nil, fmt.Errorf("list this machine's addresses: %w", err)
	}
	var local []string
	for _, address := range addresses {
		if ip, ok := address.(*net.IPNet); ok && !ip.IP.IsLinkLocalUnicast() {
			local = append(local, ip.IP.String())
		}
	}
	return local, nil
}

// isLocal tells whether a host, by address or name, is this machine.
func isLocal(host string, local []string) bool {
	if slices.Contains(local, host) {
		return true
	}
	if ip := net.ParseIP(host); ip != nil {
		return ip.IsLoopback()
	}
	resolved, err := net.LookupHost(host)
	return err == nil && slices.ContainsFunc(resolved, func(ip string) bool { return slices.Contains(local, ip) })
}

// advertised is where others reach what listens here: the given host is taken for an unspecified one.
func advertised(listen, host string) (string, error) {
	if network, _ := pki.PeerNetwork(listen); listen == "" || network == "unix" {
		return listen, nil
	}
	own, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", fmt.Errorf("address %q: %w", listen, err)
	}
	if ip := net.ParseIP(own); own == "" || (ip != nil && ip.IsUnspecified()) {
		own = host
	}
	return net.JoinHostPort(own, port), nil
}

// outwardHost is the address that this machine is reached at, as far as it can tell: that of its first
// interface which leads out, or loopback.
func outwardHost() (string, error) {
	local, err := localAddresses()
	if err != nil {
		return "", err
	}
	for _, address := range local {
		if ip := net.ParseIP(address); ip.To4() != nil && !ip.IsLoopback() {
			return address, nil
		}
	}
	return "127.0.0.1", nil
}
