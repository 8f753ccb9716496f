package files

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ctlplane/ctlplane/durable"
	"github.com/ctlplane/ctlplane/pki"
)

// authority issues certificates into files, as a user's own would.
type authority struct {
	t   *testing.T
	ca  *pki.CA
	dir string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	ca, err := pki.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	a := &authority{t: t, ca: ca, dir: t.TempDir()}
	a.write("ca.pem", ca.CertPEM())
	return a
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

func (a *authority) write(name string, content []byte) {
	a.t.Helper()
	// In one move, as careful tools do it: two writes within a tick of the file system's clock look alike.
	if err := durable.WriteFile(a.path(name), content); err != nil {
		a.t.Fatal(err)
	}
}

// issue writes NAME.pem and NAME-key.pem.
func (a *authority) issue(name string, hosts ...string) Settings {
	a.t.Helper()
	certPEM, keyPEM, err := a.ca.IssuePair(pki.Leaf{CommonName: name, Hosts: hosts, Client: true, Server: true}, time.Now())
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(name+".pem", certPEM)
	a.write(name+"-key.pem", keyPEM)
	return Settings{CertFile: a.path(name + ".pem"), KeyFile: a.path(name + "-key.pem"), TrustedCAFile: a.path("ca.pem")}
}

// revoke writes a list of one certificate.
func (a *authority) revoke(list, name string) {
	a.t.Helper()
	cert := a.parse("ca.pem")
	keyPEM, err := a.ca.KeyPEM()
	if err != nil {
		a.t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(a.ca.CertPEM(), keyPEM)
	if err != nil {
		a.t.Fatal(err)
	}
	template := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: time.Now(), NextUpdate: time.Now().Add(time.Hour)}
	if name != "" {
		template.RevokedCertificateEntries = []x509.RevocationListEntry{{SerialNumber: a.parse(name + ".pem").SerialNumber, RevocationTime: time.Now()}}
	}
	der, err := x509.CreateRevocationList(rand.Reader, template, cert, pair.PrivateKey.(crypto.Signer))
	if err != nil {
		a.t.Fatal(err)
	}
	a.write(list, der)
}

func (a *authority) parse(name string) *x509.Certificate {
	a.t.Helper()
	content, err := os.ReadFile(a.path(name))
	if err != nil {
		a.t.Fatal(err)
	}
	block, _ := pem.Decode(content)
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		a.t.Fatal(err)
	}
	return cert
}

func open(t *testing.T, settings Settings) *Bundle {
	t.Helper()
	bundle, err := Open(settings)
	if err != nil {
		t.Fatal(err)
	}
	return bundle
}

// meet has a client and a server of these configurations shake hands, at addresses of the loopback network.
func meet(t *testing.T, server, client *tls.Config) (state tls.ConnectionState, err error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	served := make(chan error, 1)
	go func() {
		raw, err := listener.Accept()
		if err != nil {
			served <- err
			return
		}
		defer raw.Close()
		served <- tls.Server(raw, server).Handshake()
	}()
	conn, err := tls.Dial("tcp", listener.Addr().String(), client)
	if err != nil {
		return state, errors.Join(err, <-served)
	}
	defer conn.Close()
	return conn.ConnectionState(), <-served
}

func TestCallersProveThemselves(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	settings := a.issue("server", "127.0.0.1")
	good := open(t, a.issue("alice")).peerClient("h2")
	good.RootCAs = a.ca.Pool()
	foreign := open(t, stranger.issue("alice")).peerClient("h2")
	foreign.RootCAs = a.ca.Pool()
	none := &tls.Config{RootCAs: a.ca.Pool(), NextProtos: []string{"h2"}}
	a.revoke("revoked.pem", "alice")
	for name, test := range map[string]struct {
		change func(*Settings)
		client *tls.Config
		want   string
	}{
		"ours":             {func(*Settings) {}, good, ""},
		"another CA's":     {func(*Settings) {}, foreign, "unknown authority"},
		"none":             {func(*Settings) {}, none, "didn't provide a certificate"},
		"none is needed":   {func(s *Settings) { s.TrustedCAFile = "" }, none, ""},
		"name allowed":     {func(s *Settings) { s.AllowedCNs = []string{"bob", "alice"} }, good, ""},
		"name not allowed": {func(s *Settings) { s.AllowedCNs = []string{"bob"} }, good, "common names"},
		"host not allowed": {func(s *Settings) { s.AllowedHostnames = []string{"bob.example"} }, good, "host names"},
		"revoked":          {func(s *Settings) { s.CRLFile = a.path("revoked.pem") }, good, "revoked"},
	} {
		t.Run(name, func(t *testing.T) {
			settings := settings
			test.change(&settings)
			_, err := meet(t, open(t, settings).Server("h2"), test.client)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// TestReplacedFilesCount replaces a certificate and a revocation list under a server that goes on serving.
func TestReplacedFilesCount(t *testing.T) {
	a := newAuthority(t)
	settings := a.issue("server", "127.0.0.1")
	a.revoke("crl.der", "")
	settings.CRLFile = a.path("crl.der")
	client := open(t, a.issue("alice")).peerClient("h2")
	server := open(t, settings).Server("h2")
	serial := func() *big.Int {
		state, err := meet(t, server, client)
		if err != nil {
			t.Fatal(err)
		}
		return state.PeerCertificates[0].SerialNumber
	}
	first := serial()
	a.issue("server", "127.0.0.1")
	if serial().Cmp(first) == 0 {
		t.Error("the old certificate is served after it was replaced")
	}
	second := serial()
	a.write("server.pem", []byte("half of"))
	if serial().Cmp(second) != 0 {
		t.Error("a damaged file did not leave the last certificate in use")
	}
	if err := os.Remove(a.path("server.pem")); err != nil {
		t.Fatal(err)
	}
	if serial().Cmp(second) != 0 {
		t.Error("a missing file did not leave the last certificate in use")
	}
	a.issue("server", "127.0.0.1")
	if serial().Cmp(second) == 0 {
		t.Error("a file that is back was not read")
	}
	a.revoke("crl.der", "alice")
	if _, err := meet(t, server, client); err == nil || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("a certificate that was revoked while the server ran: %v", err)
	}
}

func TestOpenSaysWhatIsWrong(t *testing.T) {
	a := newAuthority(t)
	good := a.issue("server", "127.0.0.1")
	other := a.issue("other")
	a.write("junk.pem", []byte("junk"))
	for name, test := range map[string]struct {
		change func(*Settings)
		want   string
	}{
		"no key":          {func(s *Settings) { s.KeyFile = "" }, "without its key"},
		"no certificate":  {func(s *Settings) { s.CertFile = "" }, "without its certificate"},
		"missing file":    {func(s *Settings) { s.CertFile = a.path("none.pem") }, "none.pem does not exist"},
		"another's key":   {func(s *Settings) { s.KeyFile = other.KeyFile }, "don't make a pair"},
		"expired":         {func(s *Settings) { s.Now = func() time.Time { return time.Now().Add(100 * 365 * 24 * time.Hour) } }, "expired at"},
		"not yet valid":   {func(s *Settings) { s.Now = func() time.Time { return time.Now().Add(-48 * time.Hour) } }, "clock"},
		"no CA":           {func(s *Settings) { s.TrustedCAFile = a.path("junk.pem") }, "holds no certificate"},
		"no list":         {func(s *Settings) { s.CRLFile = a.path("junk.pem") }, "no certificate revocation list"},
		"names and hosts": {func(s *Settings) { s.AllowedCNs, s.AllowedHostnames = []string{"a"}, []string{"b"} }, "exclude each other"},
		"client half":     {func(s *Settings) { s.ClientKeyFile = other.KeyFile }, "without its certificate"},
		"a directory":     {func(s *Settings) { s.CertFile = a.dir }, "is a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			settings := good
			test.change(&settings)
			if _, err := Open(settings); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

// TestPeersCheckEachOther has two members meet, each with certificates of its own.
func TestPeersCheckEachOther(t *testing.T) {
	a, stranger := newAuthority(t), newAuthority(t)
	here := a.issue("a", "127.0.0.1")
	elsewhere := a.issue("b", "10.9.8.7")
	nowhere := a.issue("c")
	for name, test := range map[string]struct {
		server, client Settings
		want           string
	}{
		"same authority":      {here, here, ""},
		"client for no host":  {here, nowhere, ""},
		"client from nearby":  {here, elsewhere, "--peer-skip-client-san-verification"},
		"server from nearby":  {elsewhere, here, "127.0.0.1"},
		"another authority's": {here, stranger.issue("a", "127.0.0.1"), "unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := meet(t, open(t, test.server).Peers().Server, open(t, test.client).Peers().Client(pki.ProtocolRaft))
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
	skipping := here
	skipping.SkipClientSAN = true
	if _, err := meet(t, open(t, skipping).Peers().Server, open(t, elsewhere).Peers().Client(pki.ProtocolRaft)); err != nil {
		t.Errorf("without the check: %v", err)
	}
}

// names is a resolver that knows what it is told.
type names struct{ hosts, addresses map[string][]string }

func (n names) LookupHost(_ context.Context, host string) ([]string, error) {
	return n.hosts[host], nil
}
func (n names) LookupAddr(_ context.Context, address string) ([]string, error) {
	return n.addresses[address], nil
}

func TestCallersAddress(t *testing.T) {
	known := names{
		hosts:     map[string][]string{"m1.example": {"10.0.0.1"}},
		addresses: map[string][]string{"10.0.0.2": {"m2.example."}},
	}
	for _, test := range []struct {
		cert x509.Certificate
		from string
		ok   bool
	}{
		{x509.Certificate{}, "10.0.0.9:1", true},
		{x509.Certificate{IPAddresses: []net.IP{net.ParseIP("10.0.0.9")}}, "10.0.0.9:1", true},
		{x509.Certificate{IPAddresses: []net.IP{net.ParseIP("10.0.0.9")}}, "10.0.0.8:1", false},
		{x509.Certificate{DNSNames: []string{"m1.example"}}, "10.0.0.1:1", true},
		{x509.Certificate{DNSNames: []string{"m1.example"}}, "10.0.0.2:1", false},
		{x509.Certificate{DNSNames: []string{"m2.example"}}, "10.0.0.2:1", true},
		{x509.Certificate{DNSNames: []string{"*.example"}}, "10.0.0.2:1", true},
		{x509.Certificate{DNSNames: []string{"*.example"}}, "10.0.0.1:1", false},
		{x509.Certificate{IPAddresses: []net.IP{net.ParseIP("10.0.0.9")}, DNSNames: []string{"m1.example"}}, "10.0.0.1:1", true},
	} {
		if err := checkCaller(t.Context(), known, &test.cert, test.from); (err == nil) != test.ok {
			t.Errorf("%v %v from %s: %v", test.cert.IPAddresses, test.cert.DNSNames, test.from, err)
		}
	}
}

func TestSelfSignedIsKept(t *testing.T) {
	dir, now := filepath.Join(t.TempDir(), "fixtures"), time.Now()
	made := func(now time.Time) *x509.Certificate {
		certFile, keyFile, err := SelfSigned(dir, []string{"127.0.0.1", "localhost"}, time.Hour, now)
		if err != nil {
			t.Fatal(err)
		}
		pair, err := readPair(certFile, keyFile, now)
		if err != nil {
			t.Fatal(err)
		}
		return pair.Leaf
	}
	first := made(now)
	if err := errors.Join(first.VerifyHostname("127.0.0.1"), first.VerifyHostname("localhost")); err != nil {
		t.Error(err)
	}
	if !made(now.Add(time.Minute)).Equal(first) {
		t.Error("a certificate that is still good was replaced")
	}
	if made(now.Add(3 * time.Hour)).Equal(first) {
		t.Error("an expired certificate was kept")
	}
	if err := os.WriteFile(filepath.Join(dir, "key.pem"), []byte("junk"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := SelfSigned(dir, nil, time.Hour, now); err == nil {
		t.Error("files of somebody else's were taken")
	}
}

// FuzzRevocationList feeds the reader of lists, which come from outside.
func FuzzRevocationList(f *testing.F) {
	f.Add([]byte("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n"))
	f.Add([]byte{0x30, 0x03, 0x02, 0x01, 0x01})
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, content []byte) {
		list, err := parseRevoked(content)
		if err != nil && list != nil {
			t.Error("a list and an error")
		}
		_ = list.check([]*x509.Certificate{{SerialNumber: big.NewInt(1)}})
	})
}
