package pki

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// sourceCheck is how often, at most, a handshake looks whether the files have changed.
const sourceCheck = 5 * time.Second

// renewBefore is the share of a certificate's life that must be left for EnsureLeaf to keep it.
const renewBefore = LeafLife / 3

// Source hands a certificate to TLS handshakes and follows its files: after they were replaced, new
// connections use the new certificate, with no restart. Safe for concurrent use.
type Source struct {
	certFile, keyFile string
	now               func() time.Time

	mu       sync.Mutex
	cert     *tls.Certificate
	modified time.Time
	checked  time.Time
}

// OpenSource loads a certificate and its key from PEM files.
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

// EnsureLeaf opens the pair name.crt and name.key in dir, and first makes or renews it when it is
// missing, belongs to another authority, is for other hosts or is past two thirds of its life.
func (ca *CA) EnsureLeaf(dir, name string, leaf Leaf, now time.Time) (*Source, error) {
	certFile, keyFile := LeafFiles(dir, name)
	source, err := OpenSource(certFile, keyFile)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if err == nil && ca.stillGood(source.cert, leaf, now) {
		return source, nil
	}
	certPEM, keyPEM, err := ca.IssuePair(leaf, now)
	if err != nil {
		return nil, err
	}
	if err := WritePair(dir, name, certPEM, keyPEM); err != nil {
		return nil, err
	}
	return OpenSource(certFile, keyFile)
}

// WritePair stores a certificate and its key as name.crt and name.key in dir.
func WritePair(dir, name string, certPEM, keyPEM []byte) error {
	certFile, keyFile := LeafFiles(dir, name)
	if err := WriteFile(keyFile, keyPEM); err != nil {
		return err
	}
	return WriteFile(certFile, certPEM)
}

// LeafFiles are the paths that WritePair and EnsureLeaf use.
func LeafFiles(dir, name string) (certFile, keyFile string) {
	return filepath.Join(dir, name+".crt"), filepath.Join(dir, name+".key")
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
	return now.Add(renewBefore).Before(cert.Leaf.NotAfter)
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
		return fmt.Errorf("%s and %s: %w", s.certFile, s.keyFile, err)
	}
	s.cert, s.modified, s.checked = &cert, info.ModTime(), s.now()
	return nil
}
