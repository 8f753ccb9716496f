package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"strings"
	"time"
)

// Organizations, which are the groups of whoever shows the certificate.
const (
	PeersOrganization  = "ctlplane:peers"
	AdminsOrganization = "system:masters"
	NodesOrganization  = "system:nodes"

	nodePrefix = "system:node:"
)

// Leaf says whom a certificate is for and what it may do.
type Leaf struct {
	CommonName   string
	Organization string
	// Hosts are the DNS names and IP addresses that it may serve as.
	Hosts  []string
	Client bool
	Server bool
}

// PeerLeaf is a master's certificate towards the other masters, both as client and server.
func PeerLeaf(member string, hosts ...string) Leaf {
	return Leaf{CommonName: member, Organization: PeersOrganization, Hosts: hosts, Client: true, Server: true}
}

// ServerLeaf is a master's certificate towards its clients.
func ServerLeaf(member string, hosts ...string) Leaf {
	return Leaf{CommonName: member, Hosts: hosts, Server: true}
}

// AdminLeaf is the certificate of the cluster's administrator.
func AdminLeaf() Leaf {
	return Leaf{CommonName: "admin", Organization: AdminsOrganization, Client: true}
}

// APIServerLeaf is the certificate that an API server shows to an agent.
func APIServerLeaf() Leaf {
	return Leaf{CommonName: "ctlplane:apiserver", Organization: AdminsOrganization, Client: true}
}

// NodeLeaf is a node's certificate towards the API server.
func NodeLeaf(node string) Leaf {
	return Leaf{CommonName: nodePrefix + node, Organization: NodesOrganization, Client: true}
}

// NodeServingLeaf is the certificate of a node's own server.
func NodeServingLeaf(node string, hosts ...string) Leaf {
	return Leaf{CommonName: nodePrefix + node, Organization: NodesOrganization, Hosts: hosts, Server: true}
}

// Issue signs a certificate for a public key and returns it as PEM, valid from about now for the authority's leaf life.
func (ca *CA) Issue(leaf Leaf, public crypto.PublicKey, now time.Time) ([]byte, error) {
	if ca.key == nil {
		return nil, errNoCAKey
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, leaf.template(serial, now, ca), ca.cert, public, ca.key)
	if err != nil {
		return nil, fmt.Errorf("sign the certificate of %q: %w", leaf.CommonName, err)
	}
	return encodePEM(pemCertificate, der), nil
}

// template never outlives its issuer: a chain that ends early fails in ways that nobody expects.
func (leaf Leaf) template(serial *big.Int, now time.Time, issuer *CA) *x509.Certificate {
	notAfter := now.Add(issuer.life)
	if limit := issuer.cert.NotAfter; notAfter.After(limit) {
		notAfter = limit
	}
	cert := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: leaf.CommonName},
		NotBefore:             now.Add(-backdate(issuer.life)),
		NotAfter:              notAfter,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}
	if leaf.Organization != "" {
		cert.Subject.Organization = []string{leaf.Organization}
	}
	if leaf.Client {
		cert.ExtKeyUsage = append(cert.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	if leaf.Server {
		cert.ExtKeyUsage = append(cert.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	for _, host := range leaf.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			cert.IPAddresses = append(cert.IPAddresses, ip)
		} else if isDNSName(host) {
			cert.DNSNames = append(cert.DNSNames, host)
		}
	}
	return cert
}

// isDNSName tells whether a certificate may name a host: a member's name need not be one.
func isDNSName(host string) bool {
	strange := func(r rune) bool {
		return !(r == '-' || r == '_' || r == '.' || r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z')
	}
	return host != "" && host[0] != '.' && !strings.ContainsFunc(host, strange) && !strings.Contains(host, "..")
}

// IssuePair makes a key and signs its certificate; both are PEM.
func (ca *CA) IssuePair(leaf Leaf, now time.Time) (certPEM, privatePEM []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("generate a key: %w", err)
	}
	if certPEM, err = ca.Issue(leaf, &key.PublicKey, now); err != nil {
		return nil, nil, err
	}
	if privatePEM, err = keyPEM(key); err != nil {
		return nil, nil, err
	}
	return certPEM, privatePEM, nil
}

// IssueForRequest signs a certificate for the key in a signing request (DER). It proves that the
// requester holds the key, and takes nothing else from it: who someone is, the issuer decides.
func (ca *CA) IssueForRequest(csr []byte, leaf Leaf, now time.Time) ([]byte, error) {
	request, err := x509.ParseCertificateRequest(csr)
	if err != nil {
		return nil, fmt.Errorf("parse the certificate request of %q: %w", leaf.CommonName, err)
	}
	if err := request.CheckSignature(); err != nil {
		return nil, fmt.Errorf("certificate request of %q: %w", leaf.CommonName, err)
	}
	return ca.Issue(leaf, request.PublicKey, now)
}

// NewRequest makes a key (PEM) and a signing request for it (DER).
func NewRequest() (privatePEM, csr []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("generate a key: %w", err)
	}
	csr, err = x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, nil, fmt.Errorf("make a certificate request: %w", err)
	}
	if privatePEM, err = keyPEM(key); err != nil {
		return nil, nil, err
	}
	return privatePEM, csr, nil
}
