package pki

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
)

// Protocols that share a port, told apart by TLS's protocol negotiation (ALPN).
const (
	ProtocolRaft = "ctlplane-raft/1" // Raft's own messages, between masters
	ProtocolGRPC = "h2"              // gRPC
	ProtocolJoin = "ctlplane-join/1" // the join handshake; needs no certificate
	ProtocolNode = "ctlplane-node/1" // what a node asks of a master; needs a node's certificate
)

// PeerServer configures a master's peer port. A caller needs a peer's certificate (a node's or an
// administrator's won't do), unless it speaks the join protocol, which needs none and gives nothing else.
func PeerServer(source *Source, ca *CA) *tls.Config {
	peers := &tls.Config{
		MinVersion:       tls.VersionTLS13,
		GetCertificate:   source.GetCertificate,
		NextProtos:       []string{ProtocolRaft, ProtocolGRPC},
		ClientAuth:       tls.RequireAndVerifyClientCert,
		ClientCAs:        ca.Pool(),
		VerifyConnection: requireOrganization(PeersOrganization),
	}
	return WithJoin(peers)
}

// PeerClient configures a master's connections to other masters' peer ports. A peer is known by the
// authority and the organization in its certificate, not by its address: addresses change.
func PeerClient(source *Source, ca *CA, protocol string) *tls.Config {
	return &tls.Config{
		MinVersion:           tls.VersionTLS13,
		GetClientCertificate: source.GetClientCertificate,
		NextProtos:           []string{protocol},
		// Replaces verification by host name with the one below; the chain is still checked.
		InsecureSkipVerify: true,
		VerifyConnection: func(state tls.ConnectionState) error {
			if err := verifyChain(state, ca, x509.ExtKeyUsageServerAuth); err != nil {
				return err
			}
			if state.NegotiatedProtocol != protocol {
				return fmt.Errorf("peer speaks %q, want %q", state.NegotiatedProtocol, protocol)
			}
			return requireOrganization(PeersOrganization)(state)
		},
	}
}

// Server configures a port for clients whose certificates, if they show one, are of this authority.
// Pass tls.VerifyClientCertIfGiven where there are other ways to authenticate.
func Server(source *Source, ca *CA, auth tls.ClientAuthType, protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS12,
		GetCertificate: source.GetCertificate,
		NextProtos:     protocols,
		ClientAuth:     auth,
		ClientCAs:      ca.Pool(),
	}
}

// Client configures connections to servers of this authority, checked by their host name. A nil source
// shows no certificate.
func Client(source *Source, ca *CA, protocols ...string) *tls.Config {
	config := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: ca.Pool(), NextProtos: protocols}
	if source != nil {
		config.GetClientCertificate = source.GetClientCertificate
	}
	return config
}

// WithJoin lets a server's port serve the join protocol beside its own, whose requirements stay as they
// are: a caller that offers the join protocol gets that one alone, and is asked for no certificate.
func WithJoin(config *tls.Config) *tls.Config { return alsoServing(config, joinServer(config)) }

// WithEnrolment lets a server's port serve all that a node needs to be let in and to stay in: the join protocol, and
// that of the nodes, which asks for a node's certificate.
func WithEnrolment(config *tls.Config) *tls.Config {
	return alsoServing(config, joinServer(config), &tls.Config{
		MinVersion:       tls.VersionTLS13,
		GetCertificate:   config.GetCertificate,
		NextProtos:       []string{ProtocolNode},
		ClientAuth:       tls.RequireAndVerifyClientCert,
		ClientCAs:        config.ClientCAs,
		VerifyConnection: requireOrganization(NodesOrganization),
	})
}

func joinServer(config *tls.Config) *tls.Config {
	return &tls.Config{
		MinVersion:     tls.VersionTLS13, // older versions' exported keying material binds less
		GetCertificate: config.GetCertificate,
		NextProtos:     []string{ProtocolJoin},
	}
}

// alsoServing adds protocols with requirements of their own, one each; who offers one of them gets that alone.
func alsoServing(config *tls.Config, others ...*tls.Config) *tls.Config {
	all := config.Clone()
	all.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		for _, other := range others {
			if slices.Contains(hello.SupportedProtos, other.NextProtos[0]) {
				return other, nil
			}
		}
		return nil, nil
	}
	return all
}

func requireOrganization(organization string) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return fmt.Errorf("no certificate; one of O=%s is needed", organization)
		}
		subject := state.PeerCertificates[0].Subject
		if !slices.Contains(subject.Organization, organization) {
			return fmt.Errorf("certificate of %q is not of O=%s", subject, organization)
		}
		return nil
	}
}

func verifyChain(state tls.ConnectionState, ca *CA, usage x509.ExtKeyUsage) error {
	if len(state.PeerCertificates) == 0 {
		return errors.New("no certificate")
	}
	options := x509.VerifyOptions{
		Roots:         ca.Pool(),
		Intermediates: x509.NewCertPool(),
		KeyUsages:     []x509.ExtKeyUsage{usage},
	}
	for _, cert := range state.PeerCertificates[1:] {
		options.Intermediates.AddCert(cert)
	}
	if _, err := state.PeerCertificates[0].Verify(options); err != nil {
		return fmt.Errorf("certificate of %q is not of this cluster: %w", state.PeerCertificates[0].Subject, err)
	}
	return nil
}
