package pki

import (
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"sync"
	"time"
)

// sourceCheck is how often, at most, a handshake looks whether the files have changed.
const sourceCheck = 5 * time.Second

// Source hands a certificate to TLS handshakes and follows its files: after they were replaced, new
// connections use the new certificate, with no restart. Safe for concurrent use.
type Source struct {
	now func() time.Time

	mu                sync.Mutex
	certFile, keyFile string
	cert              *tls.Certificate
	modified          time.Time
	checked           time.Time
}

// OpenSource loads a certificate and its key from PEM files; both may be in one.
func OpenSource(certFile, keyFile string) (*Source, error) {
	s := &Source{certFile: certFile, keyFile: keyFile, now: time.Now}
	if err := s.load(); err != nil {
		return nil, err
	}
	return s, nil
}

// NewSource serves a pair that is held in memory.
func NewSource(certPEM, keyPEM []byte) (*Source, error) {
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	return &Source{cert: &cert, now: time.Now}, nil
}

// EnsureLeaf opens the pair called name in dir, and first makes or renews it when it is missing, can't be used, belongs
// to another authority, is for other hosts, lives longer than this authority has it or is past two thirds of its life.
func (ca *CA) EnsureLeaf(dir, name string, leaf Leaf, now time.Time) (*Source, error) {
	source, err := openPair(dir, name)
	if err == nil && ca.stillGood(source.cert, leaf, now) {
		return source, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errBadPair) {
		return nil, err
	}
	source = &Source{now: time.Now}
	return source, ca.reissue(dir, name, leaf, source, now)
}

// reissue makes a new pair, and has its source use it.
func (ca *CA) reissue(dir, name string, leaf Leaf, source *Source, now time.Time) error {
	certPEM, keyPEM, err := ca.IssuePair(leaf, now)
	if err != nil {
		return err
	}
	return source.replace(dir, name, certPEM, keyPEM)
}

// Renewal is how a pair that EnsureLeaf has opened is renewed, with the authority's key.
func (ca *CA) Renewal(kind, dir, name string, leaf Leaf, source *Source) Renewal {
	return Renewal{
		Certificates: []Certificate{{Kind: kind, Source: source}},
		Renew:        func(context.Context) error { return ca.reissue(dir, name, leaf, source, source.now()) },
	}
}

func (ca *CA) stillGood(cert *tls.Certificate, leaf Leaf, now time.Time) bool {
	if cert.Leaf.CheckSignatureFrom(ca.cert) != nil || cert.Leaf.Subject.CommonName != leaf.CommonName {
		return false
	}
	for _, host := range leaf.Hosts {
		if (net.ParseIP(host) != nil || isDNSName(host)) && cert.Leaf.VerifyHostname(host) != nil {
			return false
		}
	}
	const rounding = 2 * time.Second // certificates know whole seconds
	return now.Before(dueAt(cert.Leaf)) && lifeOf(cert.Leaf) <= ca.life+rounding
}

// GetCertificate is a tls.Config callback.
func (s *Source) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return s.Certificate(), nil
}

// GetClientCertificate is a tls.Config callback.
func (s *Source) GetClientCertificate(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	return s.Certificate(), nil
}

// Certificate is the pair in use. Files that have become unreadable, or that are being replaced at this
// moment, leave the last good pair in use.
func (s *Source) Certificate() *tls.Certificate {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if s.certFile == "" || now.Sub(s.checked) < sourceCheck {
		return s.cert
	}
	s.checked = now
	if info, err := os.Stat(s.certFile); err == nil && !info.ModTime().Equal(s.modified) {
		// The next look tries again when this one met a half-replaced pair.
		_ = s.load()
	}
	return s.cert
}

// NotAfter is when the certificate in use ends.
func (s *Source) NotAfter() time.Time { return s.Certificate().Leaf.NotAfter }

// PEM is the pair in use; the key is a secret.
func (s *Source) PEM() (certPEM, privatePEM []byte, err error) {
	cert := s.Certificate()
	key, ok := cert.PrivateKey.(*ecdsa.PrivateKey)
	if !ok {
		return nil, nil, fmt.Errorf("private key is a %T, want ECDSA", cert.PrivateKey)
	}
	for _, der := range cert.Certificate {
		certPEM = append(certPEM, encodePEM(pemCertificate, der)...)
	}
	privatePEM, err = keyPEM(key)
	return certPEM, privatePEM, err
}

// replace stores a new pair under name in dir and uses it from the next handshake on.
func (s *Source) replace(dir, name string, certPEM, keyPEM []byte) error {
	if err := WritePair(dir, name, certPEM, keyPEM); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.certFile, s.keyFile = PairFile(dir, name), PairFile(dir, name)
	return s.load()
}

// load reads both files. The caller holds mu, or owns the source alone.
func (s *Source) load() error {
	info, err := os.Stat(s.certFile)
	if err != nil {
		return err
	}
	certPEM, err := readFile(s.certFile)
	if err != nil {
		return err
	}
	keyPEM, err := readFile(s.keyFile)
	if err != nil {
		return err
	}
	cert, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return fmt.Errorf("%w: %s and %s: %w", errBadPair, s.certFile, s.keyFile, err)
	}
	s.cert, s.modified, s.checked = &cert, info.ModTime(), s.now()
	return nil
}
