package etcdconfig

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/url"
	"path/filepath"
	"slices"
	"time"

	"github.com/ctlplane/ctlplane/pki"
	"github.com/ctlplane/ctlplane/pki/files"
)

// autoTLSDir is where etcd keeps the certificates that it makes, in the data directory.
const autoTLSDir = "fixtures"

// clientTLS is the client port's TLS; nil where all is in plain text.
func (s *Settings) clientTLS(dataDir string, logger *slog.Logger) (*tls.Config, error) {
	served := slices.Concat(s.ListenClient, s.ListenClientHTTP, s.ListenMetrics)
	transport := s.Client
	if !served.anySecure() {
		if !transport.empty() || transport.ClientCertAuth || transport.AutoTLS {
			logger.Warn("the client port is in plain text, and its certificates are not used: write https:// in --listen-client-urls", "urls", served.String())
		}
		return nil, nil
	}
	switch {
	case transport.empty() && transport.AutoTLS:
		life := time.Duration(s.SelfSignedYears) * 365 * 24 * time.Hour
		var err error
		if transport.CertFile, transport.KeyFile, err = files.SelfSigned(filepath.Join(dataDir, autoTLSDir, "client"), hostNames(served), life, time.Now()); err != nil {
			return nil, fmt.Errorf("--auto-tls: %w", err)
		}
	case transport.empty():
		secured := slices.DeleteFunc(served, func(u url.URL) bool { return !secure(u) })
		if !slices.Concat(s.ListenClient, s.ListenClientHTTP).anySecure() { // in etcd's words
			return nil, fmt.Errorf("client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url %s: give them, or --auto-tls", secured.String())
		}
		return nil, fmt.Errorf("%s is served over TLS: give --cert-file and --key-file, or --auto-tls", secured.String())
	case transport.AutoTLS:
		logger.Warn("--auto-tls has no effect: --cert-file is given")
	}
	settings := transport.files(logger)
	settings.MinVersion, _ = tlsVersion("", s.TLSMin) // validated before
	settings.MaxVersion, _ = tlsVersion("", s.TLSMax)
	settings.CipherSuites, _ = cipherSuites(s.CipherSuites)
	bundle, err := files.Open(settings)
	if err != nil {
		return nil, fmt.Errorf("client port: %w", err)
	}
	return bundle.Server(pki.ProtocolGRPC), nil
}

// peerSecurity is how members prove to each other who they are: by the user's certificates, or, where it is nil, by the
// cluster's own CA, which every member gets that can prove the token.
func (s *Settings) peerSecurity(self URLs, logger *slog.Logger) (security *pki.PeerSecurity, demandsCertificate bool, err error) {
	transport := s.Peer
	all := slices.Concat(s.ListenPeer, self)
	if all.mixed() {
		return nil, false, fmt.Errorf("peer URLs are partly http and partly https (%s): use one of the two for all", all.String())
	}
	switch {
	case !all.anySecure():
		if !transport.empty() || transport.ClientCertAuth || transport.AutoTLS {
			logger.Warn("the members' certificates are not used: write https:// in --listen-peer-urls", "urls", s.ListenPeer.String())
		}
		return nil, false, nil
	case transport.empty() && transport.AutoTLS:
		return nil, false, nil
	case transport.empty():
		return nil, false, fmt.Errorf("%s is served over TLS: give --peer-cert-file and --peer-key-file, or --peer-auto-tls", s.ListenPeer.String())
	}
	bundle, err := files.Open(transport.files(logger))
	if err != nil {
		return nil, false, fmt.Errorf("peer port: %w", err)
	}
	return bundle.Peers(), bundle.DemandsCertificate(), nil
}

func (t Transport) files(logger *slog.Logger) files.Settings {
	return files.Settings{
		CertFile: t.CertFile, KeyFile: t.KeyFile, ClientCertFile: t.ClientCertFile, ClientKeyFile: t.ClientKeyFile,
		ClientCertAuth: t.ClientCertAuth, TrustedCAFile: t.TrustedCAFile, CRLFile: t.CRLFile,
		AllowedCNs: t.AllowedCNs, AllowedHostnames: t.AllowedHostnames, SkipClientSAN: t.SkipClientSAN, Logger: logger,
	}
}

// hostNames are what a certificate for these URLs is for.
func hostNames(urls URLs) []string {
	hosts := []string{"localhost", "127.0.0.1", "::1"}
	for _, u := range urls {
		if host := u.Hostname(); host != "" && !everywhere(u) && !slices.Contains(hosts, host) {
			hosts = append(hosts, host)
		}
	}
	return hosts
}
