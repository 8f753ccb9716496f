package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"path/filepath"
	"time"

	"github.com/ctlplane/ctlplane/durable"
)

const (
	caLife = 20 * 365 * 24 * time.Hour

	caCertFile = "ca.crt"
	caKeyFile  = "ca.key"
)

// CA is the cluster's certificate authority. Without its key (on nodes) it only verifies.
// It is immutable and safe for concurrent use.
type CA struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
	life time.Duration // of what it issues
}

// NewCA makes an authority with a fresh ECDSA P-256 key. The cluster's name goes into its subject,
// where it only serves people who read certificates.
func NewCA(cluster string, now time.Time) (*CA, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate the CA's key: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: "ctlplane-ca " + cluster},
		NotBefore:             now.Add(-clockSkew),
		NotAfter:              now.Add(caLife),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("sign the CA's certificate: %w", err)
	}
	return newCA(der, key)
}

func newCA(der []byte, key *ecdsa.PrivateKey) (*CA, error) {
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse the CA's certificate: %w", err)
	}
	if !cert.IsCA {
		return nil, fmt.Errorf("certificate %q is no certificate authority", cert.Subject)
	}
	if key != nil && !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errors.New("the CA's key does not belong to its certificate")
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &CA{cert: cert, key: key, pool: pool, life: DefaultLeafLife}, nil
}

// WithLeafLife is the same authority, which issues certificates of that life; see CheckLeafLife.
func (ca *CA) WithLeafLife(life time.Duration) *CA {
	other := *ca
	other.life = life
	return &other
}

// NotAfter is when the authority's own certificate ends, and with it all that it has signed.
func (ca *CA) NotAfter() time.Time { return ca.cert.NotAfter }

// ParseCA reads an authority from PEM. An empty key makes one that only verifies.
func ParseCA(certPEM, keyPEM []byte) (*CA, error) {
	der, err := decodePEM(certPEM, pemCertificate)
	if err != nil {
		return nil, fmt.Errorf("CA certificate: %w", err)
	}
	if len(keyPEM) == 0 {
		return newCA(der, nil)
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("CA key: %w", err)
	}
	return newCA(der, key)
}

// LoadCA reads the authority that Save wrote into dir. A missing key is no error: the authority then
// only verifies. A missing certificate is an error that wraps fs.ErrNotExist.
func LoadCA(dir string) (*CA, error) {
	certPEM, err := readFile(filepath.Join(dir, caCertFile))
	if err != nil {
		return nil, err
	}
	keyPEM, err := readFile(filepath.Join(dir, caKeyFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	ca, err := ParseCA(certPEM, keyPEM)
	if err != nil {
		return nil, fmt.Errorf("in %s: %w", dir, err)
	}
	return ca, nil
}

// Save writes the certificate, and the key if there is one, into dir (made when missing).
func (ca *CA) Save(dir string) error {
	if ca.key != nil {
		keyPEM, err := ca.KeyPEM()
		if err != nil {
			return err
		}
		if err := durable.WriteFile(filepath.Join(dir, caKeyFile), keyPEM); err != nil {
			return err
		}
	}
	return durable.WriteFile(filepath.Join(dir, caCertFile), ca.CertPEM())
}

// CanSign tells whether the authority holds its key.
func (ca *CA) CanSign() bool { return ca.key != nil }

// CertPEM is the authority's certificate, as a file of its own.
func (ca *CA) CertPEM() []byte { return encodePEM(pemCertificate, ca.cert.Raw) }

// KeyPEM is the authority's private key: a secret.
func (ca *CA) KeyPEM() ([]byte, error) {
	if ca.key == nil {
		return nil, errNoCAKey
	}
	return keyPEM(ca.key)
}

// Pool holds this authority alone.
func (ca *CA) Pool() *x509.CertPool { return ca.pool }

// Hash identifies the authority: the SHA-256 of its public key (SubjectPublicKeyInfo), in hex.
func (ca *CA) Hash() string { return spkiHash(ca.cert) }

func spkiHash(cert *x509.Certificate) string {
	sum := sha256.Sum256(cert.RawSubjectPublicKeyInfo)
	return hex.EncodeToString(sum[:])
}

var errNoCAKey = errors.New("the CA's key is not on this machine: only masters have it")

func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("draw a serial number: %w", err)
	}
	return serial, nil
}
