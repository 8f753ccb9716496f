package e2e

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// userCA is an authority that a user brings, with files such as openssl or cfssl would write.
type userCA struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newUserCA(t *testing.T) *userCA {
	t.Helper()
	a := &userCA{t: t, dir: t.TempDir()}
	a.cert, a.key = a.sign(&x509.Certificate{
		Subject: pkix.Name{CommonName: "the user's own CA"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}, time.Hour)
	a.write("ca.pem", "CERTIFICATE", a.cert.Raw)
	return a
}

// sign makes a key and its certificate: the authority's own, as long as there is none.
func (a *userCA) sign(template *x509.Certificate, life time.Duration) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	if template.SerialNumber, err = rand.Int(rand.Reader, big.NewInt(1<<62)); err != nil {
		a.t.Fatal(err)
	}
	template.NotBefore, template.NotAfter = time.Now().Add(-2*time.Hour), time.Now().Add(life)
	parent, signer := a.cert, a.key
	if parent == nil {
		parent, signer = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
	if err != nil {
		a.t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert, key
}

func (a *userCA) path(name string) string { return filepath.Join(a.dir, name) }

// write puts a file in place in one move, as whoever renews certificates should.
func (a *userCA) write(name, kind string, der []byte) {
	a.t.Helper()
	content := pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})
	if err := os.WriteFile(a.path("new"), content, 0o600); err != nil {
		a.t.Fatal(err)
	}
	if err := os.Rename(a.path("new"), a.path(name)); err != nil {
		a.t.Fatal(err)
	}
}

// issue writes NAME.pem and NAME-key.pem, good for servers and clients.
func (a *userCA) issue(name string, hosts ...string) (cert, key string) {
	return a.issueFor(time.Hour, name, hosts...)
}

func (a *userCA) issueExpired(name string, hosts ...string) (cert, key string) {
	return a.issueFor(-time.Hour, name, hosts...)
}

func (a *userCA) issueFor(life time.Duration, name string, hosts ...string) (certFile, keyFile string) {
	a.t.Helper()
	template := &x509.Certificate{
		Subject:  pkix.Name{CommonName: name},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	cert, key := a.sign(template, life)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(name+"-key.pem", "PRIVATE KEY", keyDER)
	a.write(name+".pem", "CERTIFICATE", cert.Raw)
	return a.path(name + ".pem"), a.path(name + "-key.pem")
}

// revoke writes crl.pem, with these certificates.
func (a *userCA) revoke(names ...string) {
	a.t.Helper()
	list := &x509.RevocationList{Number: big.NewInt(time.Now().UnixNano()), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	for _, name := range names {
		content, err := os.ReadFile(a.path(name + ".pem"))
		if err != nil {
			a.t.Fatal(err)
		}
		block, _ := pem.Decode(content)
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			a.t.Fatal(err)
		}
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: cert.SerialNumber, RevocationTime: time.Now()})
	}
	der, err := x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
	if err != nil {
		a.t.Fatal(err)
	}
	a.write("crl.pem", "X509 CRL", der)
}

// etcdctlAs is etcdctl with a certificate of the user's.
func (a *userCA) etcdctlAs(name string, endpoints string) shell {
	return shell{t: a.t, path: "etcdctl", env: []string{
		"ETCDCTL_API=3", "ETCDCTL_ENDPOINTS=" + endpoints, "ETCDCTL_CACERT=" + a.path("ca.pem"),
		"ETCDCTL_CERT=" + a.path(name+".pem"), "ETCDCTL_KEY=" + a.path(name+"-key.pem"),
	}}
}

// servedSerial is the serial number of the certificate that a port shows.
func (a *userCA) servedSerial(address string) *big.Int {
	a.t.Helper()
	pair, err := tls.LoadX509KeyPair(a.path("alice.pem"), a.path("alice-key.pem"))
	if err != nil {
		a.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	conn, err := tls.Dial("tcp", address, &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2"}})
	if err != nil {
		a.t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber
}

// TestEtcdWithTheUsersCertificates runs three members on the certificates of a user's own CA, on both ports: as etcd's
// security guide has it, with client authentication.
func TestEtcdWithTheUsersCertificates(t *testing.T) {
	a := newUserCA(t)
	c := newEtcdCluster(t, "https", "a", "b", "c")
	for _, name := range []string{"alice", "mallory"} {
		a.issue(name)
	}
	a.revoke()
	c.flags = func(name string) []string {
		return []string{
			"--cert-file", a.path(name + ".pem"), "--key-file", a.path(name + "-key.pem"),
			"--trusted-ca-file", a.path("ca.pem"), "--client-cert-auth", "--client-crl-file", a.path("crl.pem"),
			"--peer-cert-file", a.path(name + ".pem"), "--peer-key-file", a.path(name + "-key.pem"),
			"--peer-trusted-ca-file", a.path("ca.pem"), "--peer-client-cert-auth", "--peer-cert-allowed-cn", "a,b,c",
		}
	}
	for _, name := range c.names {
		a.issue(name, "127.0.0.1")
	}
	c.startAll()
	endpoint := "https://" + c.clients["a"]
	alice, mallory := a.etcdctlAs("alice", endpoint), a.etcdctlAs("mallory", endpoint)
	alice.run("put", "key", "value")
	if got := mallory.run("get", "key"); got != "key\nvalue\n" {
		t.Errorf("before the revocation: %q", got)
	}
	contains(t, alice.run("member", "list"), "https://"+c.peers["a"], "https://"+c.clients["c"])
	nobody := shell{t: t, path: "etcdctl", env: []string{"ETCDCTL_API=3", "ETCDCTL_ENDPOINTS=" + endpoint, "ETCDCTL_CACERT=" + a.path("ca.pem")}}
	nobody.refuse("", nil, "get", "key", "--dial-timeout", "1s", "--command-timeout", "2s")

	a.revoke("mallory")
	mallory.refuse("", nil, "get", "key", "--dial-timeout", "1s", "--command-timeout", "2s")
	if got := alice.run("get", "key"); got != "key\nvalue\n" {
		t.Errorf("after the revocation of another: %q", got)
	}

	before := a.servedSerial(c.clients["a"])
	a.issue("a", "127.0.0.1")
	if a.servedSerial(c.clients["a"]).Cmp(before) == 0 {
		t.Error("the certificate was replaced under the server, and the old one is served")
	}

	// A member that calls with a certificate of another CA, or of a name that is not allowed, stays outside.
	c.processes["c"].stop()
	stranger := newUserCA(t)
	cert, key := stranger.issue("c", "127.0.0.1")
	lost := c.start("c", "--peer-cert-file", cert, "--peer-key-file", key)
	alice.run("put", "while", "away")
	eventually(t, "the member to be refused", func() bool { return lost.logged("tls: unknown certificate authority") })
	select {
	case <-lost.ready:
		t.Errorf("a member with a certificate of another CA is ready:\n%s", lost.logs())
	default:
	}
	lost.stop()
	c.start("c").waitReady()
	if got := a.etcdctlAs("alice", "https://"+c.clients["c"]).run("get", "while"); got != "while\naway\n" {
		t.Errorf("the member that is back: %q", got)
	}
}

// TestEtcdAutoTLS serves clients and members with certificates that nobody had to make.
func TestEtcdAutoTLS(t *testing.T) {
	c := newEtcdCluster(t, "https", "a", "b", "c")
	c.flags = func(string) []string { return []string{"--auto-tls", "--peer-auto-tls"} }
	c.startAll()
	e := shell{t: t, path: "etcdctl", env: []string{
		"ETCDCTL_API=3", "ETCDCTL_ENDPOINTS=https://" + c.clients["b"], "ETCDCTL_CACERT=" + filepath.Join(c.dataDir("b"), "fixtures", "client", "cert.pem"),
	}}
	e.run("put", "key", "value")
	if got := e.run("get", "key"); got != "key\nvalue\n" {
		t.Errorf("got %q", got)
	}
}

// fetch is what a GET without certificates answers.
func fetch(t *testing.T, url string) string {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var body bytes.Buffer
	if _, err := io.Copy(&body, response.Body); err != nil {
		t.Fatal(err)
	}
	return body.String()
}
