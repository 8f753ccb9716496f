package pki

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// apiPort serves what a master's API port does for nodes.
func apiPort(t *testing.T, c *cluster, life time.Duration) (address string) {
	t.Helper()
	ca := c.ca.WithLeafLife(life)
	server := NewJoinServer(ca, mustToken(t, testSecret), c.tokens, c, slog.New(slog.DiscardHandler), time.Now)
	certPEM, keyPEM, err := ca.WithLeafLife(time.Hour).IssuePair(ServerLeaf("m1", "127.0.0.1"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	source, err := NewSource(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	return serveTLS(t, WithEnrolment(Server(source, ca, tls.VerifyClientCertIfGiven, "h2")), func(conn *tls.Conn) {
		switch conn.ConnectionState().NegotiatedProtocol {
		case ProtocolJoin:
			server.Serve(t.Context(), conn)
		case ProtocolNode:
			server.ServeNode(t.Context(), conn)
		}
	})
}

// nodeToken makes a token for nodes.
func (c *cluster) nodeToken() Token {
	token, record := NewToken(RoleNode, c.ca.Hash(), time.Hour, c.now)
	c.tokens[record.ID] = record
	return token
}

func enrolNode(t *testing.T, c *cluster, dir, server, name string) *Enrolment {
	t.Helper()
	e, err := Enrol(t.Context(), dir, server, c.nodeToken(), JoinRequest{Name: name, Hosts: []string{"10.0.0.9"}}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestNodeRenewsItsCertificates(t *testing.T) {
	c := newCluster(t)
	dir := filepath.Join(t.TempDir(), "pki")
	server := apiPort(t, c, time.Hour)
	e := enrolNode(t, c, dir, server, "n1")
	client, serving := e.Client.Certificate().Leaf, e.Serving.Certificate().Leaf
	c.members = []JoinMember{{ID: 1, Name: "m1", APIAddress: server}, {ID: 2, Name: "m2", APIAddress: "127.0.0.1:1"}}
	if err := e.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	for what, pair := range map[string][2]*x509.Certificate{
		"client": {client, e.Client.Certificate().Leaf}, "serving": {serving, e.Serving.Certificate().Leaf},
	} {
		before, now := pair[0], pair[1]
		if now.SerialNumber.Cmp(before.SerialNumber) == 0 || slices.Equal(now.RawSubjectPublicKeyInfo, before.RawSubjectPublicKeyInfo) {
			t.Errorf("the %s certificate, or its key, is the old one", what)
		}
		if now.Subject.String() != before.Subject.String() || !slices.Equal(now.DNSNames, before.DNSNames) || len(now.IPAddresses) != len(before.IPAddresses) ||
			!slices.Equal(now.ExtKeyUsage, before.ExtKeyUsage) {
			t.Errorf("the %s certificate was for %v %v %v, is for %v %v %v", what,
				before.Subject, before.DNSNames, before.IPAddresses, now.Subject, now.DNSNames, now.IPAddresses)
		}
	}
	again, ok, err := LoadEnrolment(dir, server)
	if err != nil || !ok || !again.Client.Certificate().Leaf.Equal(e.Client.Certificate().Leaf) || len(again.Members()) != 2 {
		t.Errorf("what is on disk is not what was granted: %v", err)
	}
}

// TestNodeThatMovedAsksForItsNewAddress restarts a node at another address, and lets go of the old one.
func TestNodeThatMovedAsksForItsNewAddress(t *testing.T) {
	c := newCluster(t)
	dir := filepath.Join(t.TempDir(), "pki")
	server := apiPort(t, c, time.Hour)
	e := enrolNode(t, c, dir, server, "n1")
	e.Hosts = []string{"n1", "10.0.0.9"}
	if e.Moved() {
		t.Error("the node is where it was")
	}
	e.Hosts = []string{"n1", "10.0.0.10"}
	if !e.Moved() {
		t.Error("the node's certificate names its new address")
	}
	if err := e.Renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	cert := e.Serving.Certificate().Leaf
	if e.Moved() || cert.VerifyHostname("10.0.0.9") == nil {
		t.Errorf("the certificate names %v %v", cert.DNSNames, cert.IPAddresses)
	}
}

// TestCrashInARenewalLeavesANodeThatWorks keeps the node from storing the second of its two pairs.
func TestCrashInARenewalLeavesANodeThatWorks(t *testing.T) {
	c := newCluster(t)
	dir := filepath.Join(t.TempDir(), "pki")
	server := apiPort(t, c, time.Hour)
	e := enrolNode(t, c, dir, server, "n1")
	before := e.Client.Certificate().Leaf
	// A directory can't be replaced by a file: writing the serving pair fails.
	serving := PairFile(dir, servingPair)
	content, err := os.ReadFile(serving)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Remove(serving), os.Mkdir(serving, 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := e.Renew(t.Context()); err == nil {
		t.Fatal("the renewal succeeded")
	}
	if err := errors.Join(os.Remove(serving), os.WriteFile(serving, content, 0o600)); err != nil {
		t.Fatal(err)
	}
	again, ok, err := LoadEnrolment(dir, server)
	if err != nil || !ok {
		t.Fatal(err)
	}
	if again.Client.Certificate().Leaf.Equal(before) {
		t.Error("the first pair is still the old one: nothing was tested")
	}
	if err := again.Renew(t.Context()); err != nil {
		t.Errorf("the node can't go on: %v", err)
	}
}

func TestNodeLearnsOfNewMasters(t *testing.T) {
	c := newCluster(t)
	dir := filepath.Join(t.TempDir(), "pki")
	first, second := apiPort(t, c, time.Hour), apiPort(t, c, time.Hour)
	e := enrolNode(t, c, dir, first, "n1")
	c.members = []JoinMember{{ID: 2, Name: "m2", APIAddress: second, ClientAddress: "10.0.0.2:2379"}}
	if changed, err := e.Refresh(t.Context()); err != nil || !changed {
		t.Fatalf("%v, %v", changed, err)
	}
	if changed, err := e.Refresh(t.Context()); err != nil || changed {
		t.Errorf("the same again: %v, %v", changed, err)
	}
	// After a restart the one that it was enrolled with is gone.
	again, _, err := LoadEnrolment(dir, "127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	c.members = append(c.members, JoinMember{ID: 3, Name: "m3", ClientAddress: "10.0.0.3:2379"})
	if changed, err := again.Refresh(t.Context()); err != nil || !changed {
		t.Fatalf("%v, %v", changed, err)
	}
	if endpoints := again.ClientEndpoints(); !slices.Equal(endpoints, []string{"10.0.0.2:2379", "10.0.0.3:2379"}) {
		t.Errorf("endpoints %v", endpoints)
	}
	// All that it knew are gone, and it is started with another one's address.
	c.members = nil
	again.record.Members = []JoinMember{{ID: 1, APIAddress: "127.0.0.1:1"}}
	again.server = second
	if _, err := again.Refresh(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestOnlyNodesAreAnsweredAsNodes shows other certificates, and none.
func TestOnlyNodesAreAnsweredAsNodes(t *testing.T) {
	c := newCluster(t)
	server := apiPort(t, c, time.Hour)
	other, err := NewCA("other", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	past := c.ca.WithLeafLife(MinLeafLife)
	for name, source := range map[string]*Source{
		"none":                  nil,
		"an administrator's":    issued(t, c.ca, AdminLeaf(), time.Now()),
		"a master's":            issued(t, c.ca, PeerLeaf("m1"), time.Now()),
		"a node's for serving":  issued(t, c.ca, NodeServingLeaf("n1"), time.Now()),
		"another cluster's":     issued(t, other, NodeLeaf("n1"), time.Now()),
		"one that has ended":    issued(t, past, NodeLeaf("n1"), time.Now().Add(-time.Hour)),
		"one of a strange name": issued(t, c.ca, Leaf{CommonName: nodePrefix + "a/b", Organization: NodesOrganization, Client: true}, time.Now()),
		"a node's without name": issued(t, c.ca, Leaf{CommonName: "n1", Organization: NodesOrganization, Client: true}, time.Now()),
	} {
		config := Client(source, c.ca, ProtocolNode)
		conn, err := tls.Dial("tcp", server, config)
		if err != nil {
			continue
		}
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		err = writeMessage(conn, nodeQuestion{Version: nodeVersion})
		var v verdict
		if err == nil {
			err = readMessage(conn, &v)
		}
		conn.Close()
		if err == nil {
			t.Errorf("certificate: %s: was answered %s", name, v.Grant)
		}
	}
}

// TestNodeRenewsOnlyItself asks under a name of another.
func TestNodeRenewsOnlyItself(t *testing.T) {
	c := newCluster(t)
	server := apiPort(t, c, time.Hour)
	e := enrolNode(t, c, filepath.Join(t.TempDir(), "pki"), server, "n1")
	conn, err := tls.Dial("tcp", server, Client(e.Client, e.CA, ProtocolNode))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_, csr, err := NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	if err := writeMessage(conn, map[string]any{"version": nodeVersion, "name": "n2", "role": "master", "csr": csr, "servingCsr": csr}); err != nil {
		t.Fatal(err)
	}
	var v verdict
	if err := readMessage(conn, &v); err != nil || v.Refusal != nil {
		t.Fatal(err, v.Refusal)
	}
	if strings.Contains(string(v.Grant), "sealed") {
		t.Errorf("a node was granted masters' secrets: %s", v.Grant)
	}
	var g grant
	if err := json.Unmarshal(v.Grant, &g); err != nil {
		t.Fatal(err)
	}
	for _, certPEM := range [][]byte{g.Cert, g.ServingCert} {
		if subject := parseLeaf(t, certPEM).Subject.String(); subject != "CN=system:node:n1,O=system:nodes" {
			t.Errorf("n1 was granted a certificate of %q", subject)
		}
	}
}

// TestNodeWhoseCertificateEndedJoinsAgain has a node be away for longer than its certificate lives.
func TestNodeWhoseCertificateEndedJoinsAgain(t *testing.T) {
	c := newCluster(t)
	dir := filepath.Join(t.TempDir(), "pki")
	server := apiPort(t, c, MinLeafLife)
	e := enrolNode(t, c, dir, server, "n1")
	if err := e.Ended(time.Now()); err != nil {
		t.Fatal(err)
	}
	away := e.Client.NotAfter().Add(time.Second)
	err := e.Ended(away)
	if err == nil || !strings.Contains(err.Error(), "token create") || !strings.Contains(err.Error(), "n1") {
		t.Errorf("the error does not say what to do: %v", err)
	}
	serial := e.Client.Certificate().Leaf.SerialNumber
	e = enrolNode(t, c, dir, server, "n1")
	if e.Client.Certificate().Leaf.SerialNumber.Cmp(serial) == 0 {
		t.Error("the old certificate is still there")
	}
	other := newCluster(t)
	_, err = Enrol(t.Context(), dir, apiPort(t, other, time.Hour), other.nodeToken(), JoinRequest{Name: "n1"}, slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), "another cluster") {
		t.Errorf("another cluster took the directory over: %v", err)
	}
}

func TestRefusalOfAQuestionReachesTheNode(t *testing.T) {
	c := newCluster(t)
	server := apiPort(t, c, time.Hour)
	e := enrolNode(t, c, filepath.Join(t.TempDir(), "pki"), server, "n1")
	c.refusal = Refuse(JoinRefused, "nodes are not wanted")
	var refused *JoinError
	if err := e.Renew(t.Context()); !errors.As(err, &refused) || !strings.Contains(err.Error(), "not wanted") {
		t.Errorf("got %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Renew(ctx); err == nil {
		t.Error("an ended context renewed")
	}
}

func issued(t *testing.T, ca *CA, leaf Leaf, now time.Time) *Source {
	t.Helper()
	certPEM, keyPEM, err := ca.IssuePair(leaf, now)
	if err != nil {
		t.Fatal(err)
	}
	source, err := NewSource(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	return source
}
