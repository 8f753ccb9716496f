package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
)

// authority signs the certificates of a test.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &authority{cert: cert, key: key, pool: pool}
}

func (a *authority) issue(t *testing.T, name string, groups ...string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name, Organization: groups},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(10 * time.Minute),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// TestRequest authenticates over a real connection: with a certificate, with a token, with both, with
// neither, with bad ones.
func TestRequest(t *testing.T) {
	ca := newAuthority(t)
	fake := clocktesting.NewFakePassiveClock(time.Now())
	tokens := StaticTokens{}
	for token, user := range map[string]User{"good": {Name: "robot", UID: "7", Groups: []string{"robots"}}} {
		tokens[HashToken(token)] = Token{Hash: HashToken(token), User: user}
	}
	chain := Union{Certificates{Clock: fake}, Tokens{Lookup: tokens, Clock: fake}}
	var got User
	var failure error
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		got, failure = Request(chain, r)
	}))
	server.TLS = &tls.Config{ClientAuth: tls.VerifyClientCertIfGiven, ClientCAs: ca.pool}
	server.StartTLS()
	defer server.Close()

	admin := User{Name: "admin", Groups: []string{GroupMasters, GroupAuthenticated}}
	robot := User{Name: "robot", UID: "7", Groups: []string{"robots", GroupAuthenticated}}
	cert := ca.issue(t, "admin", GroupMasters)
	for _, test := range []struct {
		name   string
		certs  []tls.Certificate
		header string
		later  time.Duration
		want   User
		err    error
	}{
		{"certificate", []tls.Certificate{cert}, "", 0, admin, nil},
		{"token", nil, "Bearer good", 0, robot, nil},
		{"token, scheme in lower case", nil, "bearer good", 0, robot, nil},
		{"both", []tls.Certificate{cert}, "Bearer good", 0, admin, nil},
		{"neither", nil, "", 0, User{}, ErrNoCredentials},
		{"password", nil, "Basic YTpi", 0, User{}, ErrNoCredentials},
		{"wrong token", nil, "Bearer bad", 0, User{}, ErrBadCredentials},
		{"certificate that ended on an open connection", []tls.Certificate{cert}, "", 11 * time.Minute, User{}, ErrBadCredentials},
		{"ended certificate and a token", []tls.Certificate{cert}, "Bearer good", 11 * time.Minute, robot, nil},
		{"certificate without a name", []tls.Certificate{ca.issue(t, "", GroupMasters)}, "", 0, User{}, ErrBadCredentials},
	} {
		t.Run(test.name, func(t *testing.T) {
			fake.SetTime(time.Now().Add(test.later))
			client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{
				RootCAs: server.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com", Certificates: test.certs,
			}}}
			defer client.CloseIdleConnections()
			request, _ := http.NewRequest(http.MethodGet, server.URL, nil)
			if test.header != "" {
				request.Header.Set("Authorization", test.header)
			}
			response, err := client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if !errors.Is(failure, test.err) || !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v, %v; want %+v, %v", got, failure, test.want, test.err)
			}
		})
	}
}

// TestUnverified shows a certificate that the TLS layer did not check: it must not count.
func TestUnverified(t *testing.T) {
	leaf, err := x509.ParseCertificate(newAuthority(t).issue(t, "admin", GroupMasters).Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	state := &tls.ConnectionState{PeerCertificates: []*x509.Certificate{leaf}}
	user, ok, err := Certificates{Clock: clock.RealClock{}}.Authenticate(context.Background(), Credentials{TLS: state})
	if ok || err == nil {
		t.Errorf("an unverified certificate made %+v", user)
	}
}

// TestRejectedIsMute makes sure that what was wrong goes to the log and not to the caller.
func TestRejectedIsMute(t *testing.T) {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer s3cret")
	_, err := Request(Tokens{Lookup: StaticTokens{}, Clock: clock.RealClock{}}, r)
	var rejected *RejectedError
	if !errors.As(err, &rejected) || err.Error() != ErrBadCredentials.Error() {
		t.Fatalf("got %v", err)
	}
	if !errors.Is(rejected.Cause, errUnknownToken) || strings.Contains(rejected.Cause.Error(), "s3cret") {
		t.Errorf("cause is %v", rejected.Cause)
	}
}

// TestCall takes credentials from where gRPC keeps them.
func TestCall(t *testing.T) {
	ca := newAuthority(t)
	leaf, err := x509.ParseCertificate(ca.issue(t, NodePrefix+"n1", GroupNodes).Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	chain := Union{Certificates{Clock: clock.RealClock{}}, Tokens{
		Lookup: StaticTokens{HashToken("good"): {Hash: HashToken("good"), User: User{Name: "robot"}}}, Clock: clock.RealClock{},
	}}
	verified := peer.NewContext(context.Background(), &peer.Peer{AuthInfo: credentials.TLSInfo{State: tls.ConnectionState{
		PeerCertificates: []*x509.Certificate{leaf}, VerifiedChains: [][]*x509.Certificate{{leaf, ca.cert}},
	}}})
	user, err := Call(verified, chain)
	if err != nil {
		t.Fatal(err)
	}
	if node, ok := user.Node(); !ok || node != "n1" {
		t.Errorf("got %+v", user)
	}
	withToken := metadata.NewIncomingContext(context.Background(), metadata.Pairs("authorization", "Bearer good"))
	if user, err := Call(withToken, chain); err != nil || user.Name != "robot" {
		t.Errorf("got %+v, %v", user, err)
	}
	if _, err := Call(context.Background(), chain); !errors.Is(err, ErrNoCredentials) {
		t.Errorf("nobody: %v", err)
	}
}

func TestContext(t *testing.T) {
	if user, ok := UserFrom(context.Background()); ok {
		t.Errorf("an empty context has the user %+v", user)
	}
	user, ok := UserFrom(WithUser(context.Background(), System("scheduler")))
	if !ok || user.Name != "system:scheduler" || !user.In(GroupMasters) {
		t.Errorf("got %+v, %v", user, ok)
	}
}

func TestNodeOfUser(t *testing.T) {
	for _, test := range []struct {
		user User
		want string
	}{
		{User{Name: "system:node:n1", Groups: []string{GroupNodes}}, "n1"},
		{User{Name: "system:node:n1"}, ""},
		{User{Name: "n1", Groups: []string{GroupNodes}}, ""},
		{User{Name: "system:node:", Groups: []string{GroupNodes}}, ""},
	} {
		if got, ok := test.user.Node(); got != test.want || ok != (test.want != "") {
			t.Errorf("%+v: %q, %v", test.user, got, ok)
		}
	}
}
