package pki

import (
	"crypto/tls"
	"fmt"
)

// PeerSecurity is how masters prove to each other who they are. Both sides tell the protocols that share the
// peer port apart by ALPN.
type PeerSecurity struct {
	// Server is the peer port's configuration. It negotiates all three protocols; the join protocol must be
	// spoken over TLS 1.3.
	Server *tls.Config
	// Client is the configuration of a connection to another master's peer port, for one protocol. It must
	// refuse a server that negotiates another.
	Client func(protocol string) *tls.Config
}

// Peers is the security of masters that show certificates of this authority. A machine that joins has none yet;
// the join handshake proves what is missing.
func (ca *CA) Peers(source *Source) *PeerSecurity {
	return &PeerSecurity{
		Server: PeerServer(source, ca),
		Client: func(protocol string) *tls.Config { return PeerClient(source, ca, protocol) },
	}
}

// RequireProtocol refuses a connection that has not negotiated protocol. It is for tls.Config.VerifyConnection.
func RequireProtocol(protocol string) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		if state.NegotiatedProtocol != protocol {
			return fmt.Errorf("the other side speaks %q, want %q", state.NegotiatedProtocol, protocol)
		}
		return nil
	}
}

// joinClient is how a machine that has no certificate yet calls a port that serves the join protocol. Nothing is
// checked: the handshake proves server and connection.
func joinClient() *tls.Config {
	return &tls.Config{MinVersion: tls.VersionTLS13, NextProtos: []string{ProtocolJoin}, InsecureSkipVerify: true}
}
