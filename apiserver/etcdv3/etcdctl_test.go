package etcdv3

import (
	"bufio"
	"bytes"
	"context"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/ctlplane/ctlplane/apiserver/etcdv3/auth"
)

// etcdctl runs Debian's etcdctl against a server.
type etcdctl struct {
	testing.TB
	endpoint string
	flags    []string // for TLS
}

func (e etcdctl) command(ctx context.Context, args ...string) *exec.Cmd {
	c := exec.CommandContext(ctx, "etcdctl", slices.Concat([]string{"--endpoints", e.endpoint}, e.flags, args)...)
	c.Env = append(os.Environ(), "ETCDCTL_API=3")
	return c
}

// run returns what a command prints, input being what it reads.
func (e etcdctl) run(input string, args ...string) string {
	e.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c := e.command(ctx, args...)
	c.Stdin = strings.NewReader(input)
	out, err := c.CombinedOutput()
	if err != nil {
		e.Fatalf("etcdctl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func (e etcdctl) expect(want string, args ...string) {
	e.Helper()
	if got := e.run("", args...); got != want {
		e.Errorf("etcdctl %s:\n%q\nwant:\n%q", strings.Join(args, " "), got, want)
	}
}

func TestEtcdctl(t *testing.T) {
	if _, err := exec.LookPath("etcdctl"); err != nil {
		t.Fatal("etcdctl is needed: install Debian's etcd-client")
	}
	e := etcdctl{TB: t, endpoint: serve(t, newLocalBackend(t), ServerConfig{}, Options{})}
	e.expect("OK\n", "put", "a/1", "one") // revision 2
	e.expect("OK\n", "put", "a/2", "two") // 3
	e.expect("OK\na/1\none\n", "put", "a/1", "uno", "--prev-kv")
	e.expect("a/1\nuno\na/2\ntwo\n", "get", "--prefix", "a/")
	e.expect("a/1\none\na/2\ntwo\n", "get", "--prefix", "a/", "--rev", "3")
	e.expect("a/2\n\n", "get", "--prefix", "a/", "--keys-only", "--order", "descend", "--limit", "1")
	e.expect("1\n", "del", "a/2") // 5

	txn := e.run("value(\"a/1\") = \"uno\"\n\nput a/3 three\nget a/1\n\nput a/4 four\n\n", "txn")
	if !strings.HasPrefix(txn, "SUCCESS\n") || !strings.Contains(txn, "a/1\nuno") {
		t.Errorf("txn: %q", txn)
	}
	e.watch()
	e.lease()
	if got := e.run("", "compaction", "4"); !strings.Contains(got, "compacted revision 4") {
		t.Errorf("compaction: %q", got)
	}
	if got := e.run("", "member", "list"); !regexp.MustCompile(`^7, started, a, http://127.0.0.1:2380, http://127.0.0.1:2379, false\n$`).MatchString(got) {
		t.Errorf("member list: %q", got)
	}
	if got := e.run("", "endpoint", "health"); !strings.Contains(got, "is healthy") {
		t.Errorf("health: %q", got)
	}
	if got := e.run("", "endpoint", "status"); !strings.Contains(got, ", 7, 3.7.3, ") || !strings.Contains(got, "true, false, 1,") {
		t.Errorf("status: %q", got)
	}
}

func TestEtcdctlOverTLS(t *testing.T) {
	ca := newAuthority(t)
	creds := grpc.Creds(credentials.NewTLS(ca.config("a", "ctlplane:peers")))
	address := serve(t, newLocalBackend(t), ServerConfig{Allow: auth.AllowByCertificate}, Options{}, creds)
	flags := ca.files("admin", "system:masters")
	e := etcdctl{TB: t, endpoint: "https://" + address, flags: flags}
	e.expect("OK\n", "put", "k", "v")
	e.expect("k\nv\n", "get", "k")
	if got := e.run("", "endpoint", "health"); !strings.Contains(got, "is healthy") {
		t.Errorf("health: %q", got)
	}
	node := etcdctl{TB: t, endpoint: e.endpoint, flags: ca.files("system:node:n1", "system:nodes")}
	out, err := node.command(t.Context(), "get", "k").CombinedOutput()
	if err == nil || !bytes.Contains(out, []byte("PermissionDenied")) {
		t.Errorf("a node's get: %v\n%s", err, out)
	}
}

// watch reads history from a revision on, and then what comes.
func (e etcdctl) watch() {
	e.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c := e.command(ctx, "watch", "--prefix", "a/", "--rev", "4")
	out, err := c.StdoutPipe()
	if err != nil {
		e.Fatal(err)
	}
	if err := c.Start(); err != nil {
		e.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	read := func(n int) string {
		var b bytes.Buffer
		for range n {
			if !lines.Scan() {
				e.Fatalf("watch ended after %q", b.String())
			}
			b.WriteString(lines.Text() + "\n")
		}
		return b.String()
	}
	if got := read(9); got != "PUT\na/1\nuno\nDELETE\na/2\n\nPUT\na/3\nthree\n" {
		e.Errorf("history: %q", got)
	}
	e.expect("OK\n", "put", "a/5", "five")
	if got := read(3); got != "PUT\na/5\nfive\n" {
		e.Errorf("live: %q", got)
	}
	cancel()
	_ = c.Wait() // it was killed
}

func (e etcdctl) lease() {
	e.Helper()
	granted := regexp.MustCompile(`^lease ([0-9a-f]+) granted with TTL\(60s\)\n$`).FindStringSubmatch(e.run("", "lease", "grant", "60"))
	if granted == nil {
		e.Fatal("lease grant")
	}
	id := granted[1]
	e.expect("OK\n", "put", "leased", "v", "--lease", id)
	e.expect("lease "+id+" keepalived with TTL(60)\n", "lease", "keep-alive", "--once", id)
	if got := e.run("", "lease", "timetolive", id, "--keys"); !strings.Contains(got, "granted with TTL(60s), remaining(60s), attached keys([leased])") {
		e.Errorf("timetolive: %q", got)
	}
	if got := e.run("", "lease", "list"); !strings.Contains(got, id) {
		e.Errorf("list: %q", got)
	}
	e.expect("lease "+id+" revoked\n", "lease", "revoke", id)
	e.expect("", "get", "leased")
}
