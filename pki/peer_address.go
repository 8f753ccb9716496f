package pki

import (
	"crypto/tls"
	"net"
	"strings"
)

// socketScheme begins the address of a peer port that is a socket in the file system.
const socketScheme = "unix://"

// PeerNetwork splits the address of a member's peer port: host:port, or unix:// and the path of a socket, by which the members of
// one machine reach each other. It returns what net.Dial and net.Listen take.
func PeerNetwork(address string) (network, at string) {
	if path, socket := strings.CutPrefix(address, socketScheme); socket {
		return "unix", path
	}
	return "tcp", address
}

// SocketAddress is the address of a peer port that is a socket.
func SocketAddress(path string) string { return socketScheme + path }

// PeerHost is the host that the certificate of a peer port is for: that of the address; localhost for a socket.
func PeerHost(address string) (string, error) {
	if network, _ := PeerNetwork(address); network == "unix" {
		return "localhost", nil
	}
	host, _, err := net.SplitHostPort(address)
	return host, err
}

// PeerConfig is a client's TLS configuration for a peer port at an address: whatever dials a socket can't tell the host by itself.
func PeerConfig(config *tls.Config, address string) *tls.Config {
	if network, _ := PeerNetwork(address); network != "unix" || config.ServerName != "" {
		return config
	}
	config = config.Clone()
	config.ServerName, _ = PeerHost(address) // of a socket it is known
	return config
}
