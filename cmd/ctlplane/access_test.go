package main

import (
	"bytes"
	"crypto/tls"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/pki"
)

// TestTokenTakesKubeconfig has each command that talks to a cluster take the cluster from its flag, whatever else is set.
func TestTokenTakesKubeconfig(t *testing.T) {
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "from-the-environment"))
	for _, line := range []string{
		"token create", "token list", "token delete abc", "status", "kv get a", "member list", "alarm list", "user list",
		"endpoint status", "snapshot save x", "auth status",
	} {
		t.Run(line, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "from-the-flag")
			command, rest, err := newRoot().Find(strings.Fields(line))
			if err != nil {
				t.Fatal(err)
			}
			if err := command.ParseFlags(append(rest, "--kubeconfig", path)); err != nil {
				t.Fatal(err)
			}
			if found := findKubeconfig(command); found != path {
				t.Errorf("the cluster is taken from %q, want %q", found, path)
			}
		})
	}
	root := newRoot()
	root.SetArgs([]string{"token", "list", "--kubeconfig", "/nowhere/kubeconfig"})
	if err := root.Execute(); err == nil || !strings.Contains(err.Error(), "/nowhere/kubeconfig") {
		t.Errorf("the error does not name the file: %v", err)
	}
}

// TestTokenOfThePastIsRefused asks for a token that would have ended already; it must not become one that never ends.
func TestTokenOfThePastIsRefused(t *testing.T) {
	root := newRoot()
	root.SetArgs([]string{"token", "create", "--ttl", "-1h"})
	if err := root.Execute(); err == nil || !strings.Contains(err.Error(), "--ttl -1h0m0s is in the past") {
		t.Errorf("got %v", err)
	}
}

func TestCertStatus(t *testing.T) {
	dir := t.TempDir()
	run := func(args ...string) (string, error) {
		root, out := newRoot(), &bytes.Buffer{}
		root.SetOut(out)
		root.SetArgs(append([]string{"cert", "status", "--data-dir", dir}, args...))
		err := root.Execute()
		return out.String(), err
	}
	if _, err := run(); err == nil || !strings.Contains(err.Error(), "holds no certificates") {
		t.Errorf("an empty directory: %v", err)
	}
	ca, err := pki.NewCA("test", time.Now().Add(-time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if err := ca.Save(filepath.Join(dir, "pki")); err != nil {
		t.Fatal(err)
	}
	if _, err := ca.EnsureLeaf(filepath.Join(dir, "pki"), "admin", pki.AdminLeaf(), time.Now()); err != nil {
		t.Fatal(err)
	}
	if _, err := ca.WithLeafLife(time.Minute).EnsureLeaf(filepath.Join(dir, "pki"), "peer", pki.PeerLeaf("m1"), time.Now().Add(-time.Hour)); err != nil {
		t.Fatal(err)
	}
	out, err := run()
	if err != nil {
		t.Fatal(err)
	}
	for _, words := range []string{"NAME", "ca ", "never", "CN=admin,O=system:masters", "(ended)"} {
		if !strings.Contains(out, words) {
			t.Errorf("%q is not in:\n%s", words, out)
		}
	}
	if out, err := run("-o", "json"); err != nil || !strings.Contains(out, `"name": "peer"`) || strings.Contains(out, "0001") {
		t.Errorf("%v:\n%s", err, out)
	}
}

// TestLongCommandShowsTheRenewedCertificate rewrites the kubeconfig under a command of the store that goes on.
func TestLongCommandShowsTheRenewedCertificate(t *testing.T) {
	ca, err := pki.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "admin.kubeconfig")
	write := func(name string) client.Access {
		t.Helper()
		cert, key, err := ca.IssuePair(pki.Leaf{CommonName: name, Client: true}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		access := client.Access{Server: "https://10.0.0.1:6443", CA: ca.CertPEM(), Cert: cert, Key: key}
		if err := client.WriteKubeconfig(path, access); err != nil {
			t.Fatal(err)
		}
		return access
	}
	file, err := newMemoryFile("cert", identity(write("a name that is rather long")))
	if err != nil {
		t.Fatal(err)
	}
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		file.follow(path, time.Millisecond, done)
	}()
	defer func() { close(done); <-ended }()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	deadline := time.After(60 * time.Second)
	for _, name := range []string{"a name that is rather long", "short", "a name that is longer still"} {
		write(name)
		for shown := ""; shown != name; {
			select {
			case <-deadline:
				t.Fatalf("shows %q, want %q", shown, name)
			case <-tick.C:
			}
			if pair, err := tls.LoadX509KeyPair(file.path(), file.path()); err == nil {
				shown = pair.Leaf.Subject.CommonName
			}
		}
	}
}
