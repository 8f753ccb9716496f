package pki

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

const testSecret = "correct horse battery staple"

// cluster is a join server on a real port, and the means to join it.
type cluster struct {
	ca      *CA
	address string
	tokens  memoryTokens
	now     time.Time
	members []JoinMember
	refusal error
}

func (c *cluster) AcceptMaster(_ context.Context, r JoinRequest) (JoinAnswer, error) {
	if c.refusal != nil {
		return JoinAnswer{}, c.refusal
	}
	c.members = append(c.members, JoinMember{ID: 7, Name: r.Name, PeerAddress: r.PeerAddress})
	return JoinAnswer{ClusterID: 42, MemberID: 7, Members: c.members}, nil
}

func (c *cluster) AcceptNode(_ context.Context, r JoinRequest, _ net.Addr) (JoinAnswer, error) {
	return JoinAnswer{ClusterID: 42, Hosts: append(slices.DeleteFunc(slices.Clone(r.Hosts), func(h string) bool { return h == r.Name }), r.Name), Members: c.members}, c.refusal
}

type memoryTokens map[string]TokenRecord

func (m memoryTokens) CreateToken(_ context.Context, r TokenRecord) error { m[r.ID] = r; return nil }
func (m memoryTokens) DeleteToken(_ context.Context, id string) error     { delete(m, id); return nil }
func (m memoryTokens) ListTokens(context.Context) (all []TokenRecord, err error) {
	for _, r := range m {
		all = append(all, r)
	}
	return all, nil
}
func (m memoryTokens) LookupToken(_ context.Context, id string) (TokenRecord, bool, error) {
	r, ok := m[id]
	return r, ok, nil
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{tokens: memoryTokens{}, now: time.Now()}
	var err error
	if c.ca, err = NewCA("test", c.now); err != nil {
		t.Fatal(err)
	}
	server := NewJoinServer(c.ca, mustToken(t, testSecret), c.tokens, c,
		slog.New(slog.DiscardHandler), func() time.Time { return c.now })
	certPEM, keyPEM, err := c.ca.IssuePair(PeerLeaf("first", "127.0.0.1"), c.now)
	if err != nil {
		t.Fatal(err)
	}
	source, err := NewSource(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	c.address = serveTLS(t, PeerServer(source, c.ca), func(conn *tls.Conn) { server.Serve(t.Context(), conn) })
	return c
}

// serveTLS serves connections until the test ends.
func serveTLS(t *testing.T, config *tls.Config, handle func(*tls.Conn)) (address string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			wg.Go(func() {
				defer conn.Close()
				secured := tls.Server(conn, config)
				if secured.Handshake() == nil {
					handle(secured)
				}
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		wg.Wait()
	})
	return listener.Addr().String()
}

func mustToken(t *testing.T, text string) Token {
	t.Helper()
	token, err := ParseToken(text)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

func join(t *testing.T, address string, token Token, role Role, name string) (*Joined, error) {
	t.Helper()
	conn, err := DialJoin(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	return Join(t.Context(), conn, token, role, JoinRequest{Name: name, PeerAddress: "10.0.0.2:2380", Hosts: []string{"10.0.0.2"}})
}

// wantRefusal checks a refusal's code and that its text names the remedy.
func wantRefusal(t *testing.T, err error, code JoinCode, text string) {
	t.Helper()
	var refusal *JoinError
	if !errors.As(err, &refusal) || refusal.Code != code || !strings.Contains(refusal.Message, text) {
		t.Fatalf("got error %v, want a refusal %q that says %q", err, code, text)
	}
}

func TestMasterJoins(t *testing.T) {
	c := newCluster(t)
	joined, err := join(t, c.address, mustToken(t, testSecret), RoleMaster, "second")
	if err != nil {
		t.Fatal(err)
	}
	if joined.Answer.ClusterID != 42 || joined.Answer.MemberID != 7 || len(joined.Answer.Members) != 1 {
		t.Errorf("answer: %+v", joined.Answer)
	}
	if !joined.CA.CanSign() || joined.CA.Hash() != c.ca.Hash() {
		t.Error("a master must get the CA with its key")
	}
	if joined.Secret.Reveal() != testSecret {
		t.Error("a master must get the masters' secret")
	}
	cert := parseLeaf(t, joined.Cert)
	if cert.Subject.CommonName != "second" || cert.Subject.Organization[0] != PeersOrganization {
		t.Errorf("subject %v", cert.Subject)
	}
	if err := cert.VerifyHostname("10.0.0.2"); err != nil {
		t.Error(err)
	}
}

func TestNodeJoins(t *testing.T) {
	c := newCluster(t)
	token, record := NewToken(RoleNode, c.ca.Hash(), time.Hour, c.now)
	c.tokens[record.ID] = record
	joined, err := join(t, c.address, mustToken(t, token.Reveal()), RoleNode, "n1")
	if err != nil {
		t.Fatal(err)
	}
	if joined.CA.CanSign() || joined.Secret != (Token{}) {
		t.Error("a node must not get the masters' secrets")
	}
	if cn := parseLeaf(t, joined.Cert).Subject.CommonName; cn != "system:node:n1" {
		t.Errorf("common name %q", cn)
	}
	serving := parseLeaf(t, joined.ServingCert)
	for _, host := range []string{"10.0.0.2", "n1"} {
		if err := serving.VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
}

func TestWrongTokenIsRefused(t *testing.T) {
	c := newCluster(t)
	_, err := join(t, c.address, mustToken(t, "not the secret of this cluster"), RoleMaster, "second")
	wantRefusal(t, err, JoinTokenRefused, "--token")
	if len(c.members) != 0 {
		t.Error("a refused machine changed the group")
	}
	unknown, _ := NewToken(RoleNode, c.ca.Hash(), 0, c.now)
	_, err = join(t, c.address, unknown, RoleNode, "n1")
	wantRefusal(t, err, JoinTokenRefused, "ctlplane token create")
}

func TestTokenOfAnotherClusterIsRefused(t *testing.T) {
	c := newCluster(t)
	other, err := NewCA("other", c.now)
	if err != nil {
		t.Fatal(err)
	}
	token, _ := NewToken(RoleNode, other.Hash(), 0, c.now)
	_, err = join(t, c.address, token, RoleNode, "n1")
	wantRefusal(t, err, JoinTokenRefused, "another cluster")
}

func TestExpiredTokenIsRefused(t *testing.T) {
	c := newCluster(t)
	token, record := NewToken(RoleNode, c.ca.Hash(), time.Hour, c.now.Add(-2*time.Hour))
	c.tokens[record.ID] = record
	_, err := join(t, c.address, token, RoleNode, "n1")
	wantRefusal(t, err, JoinTokenRefused, "expired")
}

func TestNodeTokenMakesNoMaster(t *testing.T) {
	c := newCluster(t)
	token, record := NewToken(RoleNode, c.ca.Hash(), time.Hour, c.now)
	c.tokens[record.ID] = record
	_, err := join(t, c.address, token, RoleMaster, "second")
	wantRefusal(t, err, JoinTokenRefused, "for nodes")
	if len(c.members) != 0 {
		t.Error("a node's token made a master")
	}
}

func TestBadNameIsRefused(t *testing.T) {
	c := newCluster(t)
	_, err := join(t, c.address, mustToken(t, testSecret), RoleNode, "No_Name")
	wantRefusal(t, err, JoinRefused, "lower-case")
	_, err = join(t, c.address, mustToken(t, testSecret), RoleMaster, "a=b")
	wantRefusal(t, err, JoinRefused, "printable")
}

func TestAcceptorsRefusalReachesTheJoiner(t *testing.T) {
	c := newCluster(t)
	c.refusal = Refuse(JoinRefused, "the name is taken")
	_, err := join(t, c.address, mustToken(t, testSecret), RoleMaster, "second")
	wantRefusal(t, err, JoinRefused, "name is taken")
	c.refusal = errors.New("no leader")
	_, err = join(t, c.address, mustToken(t, testSecret), RoleMaster, "second")
	wantRefusal(t, err, JoinUnavailable, "no leader")
}

// TestRelayedHandshakeIsRefused puts a man in the middle who ends TLS on both sides and passes every
// message on unchanged.
func TestRelayedHandshakeIsRefused(t *testing.T) {
	c := newCluster(t)
	own, err := NewCA("impostor", c.now)
	if err != nil {
		t.Fatal(err)
	}
	certPEM, keyPEM, err := own.IssuePair(PeerLeaf("first", "127.0.0.1"), c.now)
	if err != nil {
		t.Fatal(err)
	}
	source, err := NewSource(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	relay := serveTLS(t, PeerServer(source, own), func(victim *tls.Conn) {
		real, err := DialJoin(t.Context(), c.address)
		if err != nil {
			return
		}
		defer real.Close()
		var wg sync.WaitGroup
		wg.Go(func() {
			_, _ = io.Copy(real, victim)
			_ = real.CloseWrite()
		})
		_, _ = io.Copy(victim, real)
		_ = victim.Close()
		wg.Wait()
	})
	_, err = join(t, relay, mustToken(t, testSecret), RoleMaster, "second")
	wantRefusal(t, err, JoinTokenRefused, "not one of this cluster")
	if len(c.members) != 0 {
		t.Error("a relayed handshake changed the group")
	}
}

// TestImpostorWithoutTokenIsRefused has a server that lets everyone in, without knowing the token.
func TestImpostorWithoutTokenIsRefused(t *testing.T) {
	c := newCluster(t)
	certPEM, keyPEM, err := c.ca.IssuePair(PeerLeaf("first"), c.now)
	if err != nil {
		t.Fatal(err)
	}
	source, err := NewSource(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	address := serveTLS(t, PeerServer(source, c.ca), func(conn *tls.Conn) {
		var h hello
		var p proof
		_ = readMessage(conn, &h)
		_ = writeMessage(conn, challenge{Nonce: newNonce(), CACert: c.ca.cert.Raw})
		_ = readMessage(conn, &p)
		_ = writeMessage(conn, verdict{MAC: p.MAC, Grant: []byte(`{}`)})
	})
	_, err = join(t, address, mustToken(t, testSecret), RoleMaster, "second")
	wantRefusal(t, err, JoinTokenRefused, "does not know the token")
}

func TestPeerPortWantsAPeersCertificate(t *testing.T) {
	c := newCluster(t)
	for _, test := range []struct {
		name string
		leaf Leaf
		ok   bool
	}{
		{"peer", PeerLeaf("second"), true},
		{"node", NodeLeaf("n1"), false},
		{"admin", AdminLeaf(), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			certPEM, keyPEM, err := c.ca.IssuePair(test.leaf, c.now)
			if err != nil {
				t.Fatal(err)
			}
			source, err := NewSource(certPEM, keyPEM)
			if err != nil {
				t.Fatal(err)
			}
			accepted := make(chan bool, 1)
			serverCert, serverKey, err := c.ca.IssuePair(PeerLeaf("first"), c.now)
			if err != nil {
				t.Fatal(err)
			}
			serverSource, err := NewSource(serverCert, serverKey)
			if err != nil {
				t.Fatal(err)
			}
			address := serveTLS(t, PeerServer(serverSource, c.ca), func(*tls.Conn) { accepted <- true })
			conn, err := tls.Dial("tcp", address, PeerClient(source, c.ca, ProtocolRaft))
			if err == nil {
				_, err = conn.Read(make([]byte, 1)) // the server closes in either case
				_ = conn.Close()
			}
			select {
			case <-accepted:
				if !test.ok {
					t.Error("let in")
				}
			default:
				if test.ok {
					t.Errorf("refused: %v", err)
				}
			}
		})
	}
}

// TestStrangersKeepNobodyOut has more callers than are waited for say nothing.
func TestStrangersKeepNobodyOut(t *testing.T) {
	c := newCluster(t)
	var strangers []*tls.Conn
	for range 2 * maxUnproved {
		stranger, err := tls.Dial("tcp", c.address, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{ProtocolJoin}})
		if err != nil {
			t.Fatal(err)
		}
		defer stranger.Close()
		strangers = append(strangers, stranger)
	}
	if _, err := strangers[0].Read(make([]byte, 1)); err == nil { // it has made room by now, or does
		t.Error("the first stranger was answered")
	}
	if _, err := join(t, c.address, mustToken(t, testSecret), RoleMaster, "second"); err != nil {
		t.Errorf("a joiner with a token was kept out: %v", err)
	}
}

func TestJoinEndsWithItsContext(t *testing.T) {
	c := newCluster(t)
	certPEM, keyPEM, err := c.ca.IssuePair(PeerLeaf("first"), c.now)
	if err != nil {
		t.Fatal(err)
	}
	source, err := NewSource(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	address := serveTLS(t, PeerServer(source, c.ca), func(conn *tls.Conn) {
		var h hello
		_ = readMessage(conn, &h)
		cancel()
		_, _ = conn.Read(make([]byte, 1)) // never answers
	})
	conn, err := DialJoin(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err = Join(ctx, conn, mustToken(t, testSecret), RoleNode, JoinRequest{Name: "n1"}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

func parseLeaf(t *testing.T, certPEM []byte) *x509.Certificate {
	t.Helper()
	der, err := decodePEM(certPEM, pemCertificate)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}
