package files

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"time"
)

// maxFile bounds what is read of a file, so that a wrong path can't fill memory. Revocation lists may be long.
const maxFile = 64 << 20

func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, explain(path, err)
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(content) > maxFile {
		return nil, fmt.Errorf("%s is larger than %d bytes: no certificate, key or revocation list", path, maxFile)
	}
	return content, nil
}

// readPair reads a certificate with its key, and checks that it is valid at this time.
func readPair(certFile, keyFile string, now time.Time) (*tls.Certificate, error) {
	certPEM, err := readFile(certFile)
	if err != nil {
		return nil, err
	}
	keyPEM, err := readFile(keyFile)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("the certificate %s and the key %s don't make a pair: %w", certFile, keyFile, err)
	}
	return &pair, checkValidity(certFile, pair.Leaf, now)
}

func checkValidity(path string, cert *x509.Certificate, now time.Time) error {
	switch {
	case now.After(cert.NotAfter):
		return fmt.Errorf("the certificate %s expired at %s: replace it", path, cert.NotAfter.UTC().Format(time.RFC3339))
	case now.Before(cert.NotBefore):
		return fmt.Errorf("the certificate %s is not valid before %s: check this machine's clock", path, cert.NotBefore.UTC().Format(time.RFC3339))
	}
	return nil
}

// readPool reads the certificates of authorities.
func readPool(path string) (*x509.CertPool, error) {
	content, err := readFile(path)
	if err != nil {
		return nil, err
	}
	pool, n := x509.NewCertPool(), 0
	for block, rest := pem.Decode(content); block != nil; block, rest = pem.Decode(rest) {
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: block %d is no certificate: %w", path, n+1, err)
		}
		pool.AddCert(cert)
		n++
	}
	if n == 0 {
		return nil, fmt.Errorf("%s holds no certificate in PEM form", path)
	}
	return pool, nil
}

// revoked are the serial numbers of certificates that no longer count, each as its bytes.
type revoked map[string]struct{}

// readRevoked reads a revocation list, in DER as etcd wants it, or in PEM.
func readRevoked(path string) (revoked, error) {
	content, err := readFile(path)
	if err != nil {
		return nil, err
	}
	list, err := parseRevoked(content)
	if err != nil {
		return nil, fmt.Errorf("%s is no certificate revocation list: %w", path, err)
	}
	return list, nil
}

func parseRevoked(content []byte) (revoked, error) {
	if block, _ := pem.Decode(content); block != nil {
		content = block.Bytes
	}
	list, err := x509.ParseRevocationList(content)
	if err != nil {
		return nil, err
	}
	serials := make(revoked, len(list.RevokedCertificateEntries))
	for _, entry := range list.RevokedCertificateEntries {
		serials[string(entry.SerialNumber.Bytes())] = struct{}{}
	}
	return serials, nil
}

// check refuses a chain with a certificate that was revoked.
func (r revoked) check(chain []*x509.Certificate) error {
	for _, cert := range chain {
		if _, ok := r[string(cert.SerialNumber.Bytes())]; ok {
			return fmt.Errorf("the certificate of %q, serial number %x, was revoked", cert.Subject, cert.SerialNumber)
		}
	}
	return nil
}
