package pki

import (
	"crypto/x509"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var testTime = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

func TestCASurvivesItsFiles(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "pki")
	if _, err := LoadCA(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Fatalf("no CA yet: %v", err)
	}
	ca, err := NewCA("test", testTime)
	if err != nil {
		t.Fatal(err)
	}
	if err := ca.Save(dir); err != nil {
		t.Fatal(err)
	}
	again, err := LoadCA(dir)
	if err != nil {
		t.Fatal(err)
	}
	if again.Hash() != ca.Hash() || !again.CanSign() {
		t.Error("the loaded CA is not the saved one")
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Fatalf("want the two files and nothing else: %v %v", entries, err)
	}
	for _, entry := range entries {
		info, err := entry.Info()
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v (%v)", entry.Name(), info.Mode(), err)
		}
	}
	if err := os.Remove(filepath.Join(dir, caKeyFile)); err != nil {
		t.Fatal(err)
	}
	if again, err = LoadCA(dir); err != nil || again.CanSign() {
		t.Errorf("without its key: %v", err)
	}
	if _, _, err := again.IssuePair(AdminLeaf(), testTime); !errors.Is(err, errNoCAKey) {
		t.Errorf("issue without a key: %v", err)
	}
}

func TestMismatchedCAKeyIsRefused(t *testing.T) {
	one, _ := NewCA("one", testTime)
	two, _ := NewCA("two", testTime)
	key, err := two.KeyPEM()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseCA(one.CertPEM(), key); err == nil || !strings.Contains(err.Error(), "does not belong") {
		t.Errorf("got %v", err)
	}
}

func TestIdentities(t *testing.T) {
	ca, err := NewCA("test", testTime)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		leaf             Leaf
		name, group      string
		client, server   bool
		host, noHostWant string
	}{
		{PeerLeaf("m1", "10.0.0.1", "m1.local"), "m1", "ctlplane:peers", true, true, "m1.local", "m2.local"},
		{AdminLeaf(), "admin", "system:masters", true, false, "", "admin"},
		{APIServerLeaf(), "ctlplane:apiserver", "system:masters", true, false, "", ""},
		{NodeLeaf("n1"), "system:node:n1", "system:nodes", true, false, "", "n1"},
		{NodeServingLeaf("n1", "n1", "10.0.0.9"), "system:node:n1", "system:nodes", false, true, "10.0.0.9", "m1"},
	} {
		certPEM, _, err := ca.IssuePair(test.leaf, testTime)
		if err != nil {
			t.Fatal(err)
		}
		cert := parseLeaf(t, certPEM)
		if cert.Subject.CommonName != test.name || len(cert.Subject.Organization) != 1 || cert.Subject.Organization[0] != test.group {
			t.Errorf("subject %v, want CN=%s O=%s", cert.Subject, test.name, test.group)
		}
		for usage, want := range map[x509.ExtKeyUsage]bool{x509.ExtKeyUsageClientAuth: test.client, x509.ExtKeyUsageServerAuth: test.server} {
			_, err := cert.Verify(x509.VerifyOptions{Roots: ca.Pool(), KeyUsages: []x509.ExtKeyUsage{usage}, CurrentTime: testTime})
			if (err == nil) != want {
				t.Errorf("%s: usage %v: %v", test.name, usage, err)
			}
		}
		if test.host != "" && cert.VerifyHostname(test.host) != nil {
			t.Errorf("%s does not serve as %s", test.name, test.host)
		}
		if test.noHostWant != "" && cert.VerifyHostname(test.noHostWant) == nil {
			t.Errorf("%s serves as %s", test.name, test.noHostWant)
		}
		if life := cert.NotAfter.Sub(testTime); life != DefaultLeafLife {
			t.Errorf("%s lives %v", test.name, life)
		}
	}
}

func TestRequestGivesOnlyItsKey(t *testing.T) {
	ca, _ := NewCA("test", testTime)
	_, csr, err := NewRequest()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ca.IssueForRequest(csr, NodeLeaf("n1"), testTime); err != nil {
		t.Error(err)
	}
	csr[len(csr)-1] ^= 1
	if _, err := ca.IssueForRequest(csr, NodeLeaf("n1"), testTime); err == nil {
		t.Error("a request with a broken signature was signed")
	}
}

func TestEnsureLeafKeepsAndRenews(t *testing.T) {
	ca, _ := NewCA("test", testTime)
	dir := t.TempDir()
	serial := func(ca *CA, leaf Leaf, now time.Time) string {
		t.Helper()
		source, err := ca.EnsureLeaf(dir, "peer", leaf, now)
		if err != nil {
			t.Fatal(err)
		}
		return source.Certificate().Leaf.SerialNumber.String()
	}
	leaf := PeerLeaf("m1", "10.0.0.1")
	first := serial(ca, leaf, testTime)
	if serial(ca, leaf, testTime.Add(DefaultLeafLife/2)) != first {
		t.Error("renewed at half its life")
	}
	second := serial(ca, leaf, testTime.Add(DefaultLeafLife*3/4))
	if second == first {
		t.Error("not renewed at three quarters of its life")
	}
	third := serial(ca, PeerLeaf("m1", "10.0.0.2"), testTime.Add(DefaultLeafLife*3/4))
	if third == second {
		t.Error("not renewed for another address")
	}
	other, _ := NewCA("other", testTime)
	if serial(other, PeerLeaf("m1", "10.0.0.2"), testTime.Add(DefaultLeafLife*3/4)) == third {
		t.Error("kept a certificate of another CA")
	}
}

func TestSourceFollowsItsFiles(t *testing.T) {
	ca, _ := NewCA("test", testTime)
	dir := t.TempDir()
	source, err := ca.EnsureLeaf(dir, "peer", PeerLeaf("old"), testTime)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	source.now = func() time.Time { return now }
	certPEM, keyPEM, err := ca.IssuePair(PeerLeaf("new"), testTime)
	if err != nil {
		t.Fatal(err)
	}
	if err := WritePair(dir, "peer", certPEM, keyPEM); err != nil {
		t.Fatal(err)
	}
	file := PairFile(dir, "peer")
	if err := os.Chtimes(file, testTime, testTime); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * sourceCheck)
	if cn := source.Certificate().Leaf.Subject.CommonName; cn != "new" {
		t.Errorf("serves %q after its files were replaced", cn)
	}
	if err := os.WriteFile(file, certPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(file, testTime, testTime.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * sourceCheck)
	if cn := source.Certificate().Leaf.Subject.CommonName; cn != "new" {
		t.Errorf("serves %q after its key went missing", cn)
	}
}

func TestTokens(t *testing.T) {
	token, record := NewToken(RoleNode, strings.Repeat("0a", 32), time.Hour, testTime)
	if strings.Contains(token.String(), token.secret) {
		t.Error("a printed token shows its secret")
	}
	again, err := ParseToken(" " + token.Reveal() + "\n")
	if err != nil || again != token {
		t.Errorf("%v, %v", again, err)
	}
	if record.Expired(testTime) || !record.Expired(testTime.Add(time.Hour)) {
		t.Error("wrong expiry")
	}
	for _, bad := range []string{"", "too short", "ctp.", "ctp.00.id.secretsecretsecret", token.Reveal()[:80]} {
		if _, err := ParseToken(bad); err == nil {
			t.Errorf("%q is taken for a token", bad)
		} else if len(bad) > len(tokenPrefix) && strings.Contains(err.Error(), bad) {
			t.Errorf("the error quotes the token: %v", err)
		}
	}
	if _, err := ParseToken(NewSecret()); err != nil {
		t.Error(err)
	}
}

func TestValidateName(t *testing.T) {
	for name, ok := range map[string]bool{
		"a": true, "m1": true, "node-1.example.org": true, "": false, "-a": false, "a-": false, "a.": false, ".a": false,
		"a..b": false, "a-.b": false, "a.-b": false, "Upper": false, "under_score": false, strings.Repeat("x", 63): true, strings.Repeat("x", 64): false,
	} {
		if err := ValidateName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestValidateMemberName(t *testing.T) {
	for name, ok := range map[string]bool{
		"infra0": true, "No_Name": true, "ip-10-0-0-1.ec2.internal": true, "größe 2": true, strings.Repeat("x", 255): true,
		"": false, "a=b": false, "a,b": false, "a\nb": false, "\xff": false, strings.Repeat("x", 256): false,
	} {
		if err := ValidateMemberName(name); (err == nil) != ok {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestAnyMemberNameHasACertificate keeps names that are no host names out of what a certificate may serve as.
func TestAnyMemberNameHasACertificate(t *testing.T) {
	ca, err := NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"größe 2", ".x", "a..b", "No_Name"} {
		leaf := ServerLeaf(name, name, "localhost")
		first, err := ca.EnsureLeaf(dir, "server", leaf, time.Now())
		if err != nil {
			t.Fatalf("%q: %v", name, err)
		}
		again, err := ca.EnsureLeaf(dir, "server", leaf, time.Now())
		if err != nil || !again.Certificate().Leaf.Equal(first.Certificate().Leaf) {
			t.Errorf("%q: the certificate was not kept: %v", name, err)
		}
	}
}
