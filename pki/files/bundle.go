package files

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/ctlplane/ctlplane/pki"
)

// Settings say which files, and what is asked of callers. They mean what etcd's flags of the same names mean.
type Settings struct {
	// CertFile and KeyFile are the pair that is served; also the one that is shown to other servers, unless
	// ClientCertFile and ClientKeyFile are set.
	CertFile, KeyFile             string
	ClientCertFile, ClientKeyFile string
	// TrustedCAFile has the authorities of the other side's certificates; empty: those that the system trusts.
	// With it, or with ClientCertAuth, a caller must show a certificate.
	TrustedCAFile  string
	ClientCertAuth bool
	// CRLFile lists certificates that no longer count.
	CRLFile string
	// AllowedCNs, or AllowedHostnames, are what the other side's certificate must be for; not both.
	AllowedCNs, AllowedHostnames []string
	// SkipClientSAN leaves out the comparison of a calling member's certificate with its address.
	SkipClientSAN bool

	CipherSuites           []uint16
	MinVersion, MaxVersion uint16 // zero: TLS 1.2, and Go's highest

	Logger *slog.Logger     // nil: nothing is logged
	Now    func() time.Time // nil: time.Now
}

// Bundle is a set of files in use. Safe for concurrent use.
type Bundle struct {
	settings Settings
	pair     *followed[*tls.Certificate]
	shown    *followed[*tls.Certificate] // to other servers
	crl      *followed[revoked]          // nil without a list
	trusted  *x509.CertPool              // nil: the system's
}

// Open reads all files and checks that they fit together.
func Open(settings Settings) (*Bundle, error) {
	if settings.Logger == nil {
		settings.Logger = slog.New(slog.DiscardHandler)
	}
	if settings.Now == nil {
		settings.Now = time.Now
	}
	if len(settings.AllowedCNs) > 0 && len(settings.AllowedHostnames) > 0 {
		return nil, errors.New("allowed common names and allowed host names exclude each other: give one of the two")
	}
	b := &Bundle{settings: settings}
	var err error
	if b.pair, err = b.openPair(settings.CertFile, settings.KeyFile); err != nil {
		return nil, err
	}
	b.shown = b.pair
	if settings.ClientCertFile != "" || settings.ClientKeyFile != "" {
		if b.shown, err = b.openPair(settings.ClientCertFile, settings.ClientKeyFile); err != nil {
			return nil, err
		}
	}
	if settings.TrustedCAFile != "" {
		if b.trusted, err = readPool(settings.TrustedCAFile); err != nil {
			return nil, err
		}
	}
	if settings.CRLFile != "" {
		read := func() (revoked, error) { return readRevoked(settings.CRLFile) }
		if b.crl, err = follow(settings.Logger, read, settings.CRLFile); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (b *Bundle) openPair(certFile, keyFile string) (*followed[*tls.Certificate], error) {
	switch {
	case certFile == "":
		return nil, fmt.Errorf("the key %s is given without its certificate", keyFile)
	case keyFile == "":
		return nil, fmt.Errorf("the certificate %s is given without its key", certFile)
	}
	read := func() (*tls.Certificate, error) { return readPair(certFile, keyFile, b.settings.Now()) }
	return follow(b.settings.Logger, read, certFile, keyFile)
}

// DemandsCertificate tells whether callers must show a certificate.
func (b *Bundle) DemandsCertificate() bool {
	return b.settings.TrustedCAFile != "" || b.settings.ClientCertAuth
}

// Server configures a port for clients.
func (b *Bundle) Server(protocols ...string) *tls.Config {
	config := &tls.Config{
		MinVersion: max(b.settings.MinVersion, tls.VersionTLS12), MaxVersion: b.settings.MaxVersion,
		CipherSuites:     b.settings.CipherSuites,
		GetCertificate:   func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return b.pair.get(), nil },
		NextProtos:       protocols,
		ClientCAs:        b.trusted,
		VerifyConnection: b.check,
	}
	if b.DemandsCertificate() {
		config.ClientAuth = tls.RequireAndVerifyClientCert
	}
	return config
}

// Peers is how members prove to each other who they are with these files. Between members only TLS 1.3 is spoken,
// whatever versions and cipher suites the settings name: the join handshake needs it, and both ends are of this
// program.
func (b *Bundle) Peers() *pki.PeerSecurity {
	server := b.Server(pki.ProtocolRaft, pki.ProtocolGRPC, pki.ProtocolJoin)
	server.MinVersion, server.MaxVersion, server.CipherSuites = tls.VersionTLS13, 0, nil
	server.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		if b.settings.SkipClientSAN {
			return nil, nil
		}
		own := server.Clone()
		own.GetConfigForClient = nil
		own.VerifyConnection = func(state tls.ConnectionState) error {
			return errors.Join(b.check(state), checkAddress(hello.Context(), state, hello.Conn.RemoteAddr()))
		}
		return own, nil
	}
	return &pki.PeerSecurity{Server: server, Client: b.peerClient}
}

// peerClient checks the server against the authorities and the host name that was dialed.
func (b *Bundle) peerClient(protocol string) *tls.Config {
	return &tls.Config{
		MinVersion:           tls.VersionTLS13,
		RootCAs:              b.trusted,
		NextProtos:           []string{protocol},
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return b.shown.get(), nil },
		VerifyConnection: func(state tls.ConnectionState) error {
			return errors.Join(b.check(state), pki.RequireProtocol(protocol)(state))
		},
	}
}

// check is what is asked of the other side's certificate beside that an authority has signed it.
func (b *Bundle) check(state tls.ConnectionState) error {
	if len(state.PeerCertificates) == 0 {
		return nil // then none was asked for
	}
	if b.crl != nil {
		if err := b.crl.get().check(state.PeerCertificates); err != nil {
			return err
		}
	}
	cert := state.PeerCertificates[0]
	names, hosts := b.settings.AllowedCNs, b.settings.AllowedHostnames
	if len(names) > 0 && !slices.Contains(names, cert.Subject.CommonName) {
		return fmt.Errorf("the certificate of %q has none of the common names that are allowed", cert.Subject)
	}
	valid := func(host string) bool { return cert.VerifyHostname(host) == nil }
	if len(hosts) > 0 && !slices.ContainsFunc(hosts, valid) {
		return fmt.Errorf("the certificate of %q is for none of the host names that are allowed", cert.Subject)
	}
	return nil
}

// resolver finds the addresses of the names in certificates.
type resolver interface {
	LookupHost(ctx context.Context, host string) ([]string, error)
	LookupAddr(ctx context.Context, address string) ([]string, error)
}
