package files

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"net"
	"path/filepath"
	"time"

	"github.com/ctlplane/ctlplane/durable"
)

// clockSkew is how far a certificate's validity reaches back, for machines whose clocks are behind.
const clockSkew = time.Hour

// SelfSigned answers the certificate and key cert.pem and key.pem in dir, made for hosts when they are missing or
// expired, to be valid for life. They are kept over restarts, so that a client can be given the certificate.
func SelfSigned(dir string, hosts []string, life time.Duration, now time.Time) (certFile, keyFile string, err error) {
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	have, err := readPair(certFile, keyFile, now)
	if err == nil || have == nil && !errors.Is(err, fs.ErrNotExist) {
		return certFile, keyFile, err
	}
	certPEM, keyPEM, err := makeSelfSigned(hosts, life, now)
	if err != nil {
		return "", "", fmt.Errorf("make a certificate: %w", err)
	}
	if err := durable.WriteFile(keyFile, keyPEM); err != nil {
		return "", "", err
	}
	return certFile, keyFile, durable.WriteFile(certFile, certPEM)
}

func makeSelfSigned(hosts []string, life time.Duration, now time.Time) (certPEM, keyPEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, err
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial,
		Subject:      pkix.Name{Organization: []string{"ctlplane, made by --auto-tls"}},
		NotBefore:    now.Add(-clockSkew), NotAfter: now.Add(life),
		// It is its own authority, so that a client can be given it as that.
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		IsCA:        true, BasicConstraintsValid: true,
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else if host != "" {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}), nil
}
