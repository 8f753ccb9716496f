package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ctlplane/ctlplane/client"
)

// TestEtcdInPlaceOfEtcd starts three members with the flags of etcd's guide, without a certificate or a secret, and uses
// them with etcdctl; then grows the cluster, and starts a member again.
func TestEtcdInPlaceOfEtcd(t *testing.T) {
	c := newEtcdCluster(t, "http", "infra0", "infra1", "infra2")
	c.startAll()
	e := etcdctl(t, client.Access{Endpoints: c.endpoints(), Insecure: true})
	e.run("put", "key", "value")
	for _, endpoint := range c.endpoints() {
		one := etcdctl(t, client.Access{Endpoints: []string{endpoint}, Insecure: true})
		if got := one.run("get", "key"); got != "key\nvalue\n" {
			t.Errorf("%s: %q", endpoint, got)
		}
	}
	list := e.run("member", "list")
	for _, name := range c.names {
		contains(t, list, "http://"+c.clients[name], "http://"+c.peers[name])
	}

	c.add("infra3")
	contains(t, e.run("member", "add", "infra3", "--peer-urls", "http://"+c.peers["infra3"]), `ETCD_INITIAL_CLUSTER_STATE="existing"`)
	// etcdctl prints no token: the new member has etcd's default.
	c.start("infra3", "--initial-cluster-state", "existing", "--initial-cluster-token", "etcd-cluster").waitReady()
	one := etcdctl(t, client.Access{Endpoints: []string{c.clients["infra3"]}, Insecure: true})
	if got := one.run("get", "key"); got != "key\nvalue\n" {
		t.Errorf("the new member: %q", got)
	}

	// --initial-cluster lists one more than when it began: what counts is the data directory.
	c.processes["infra1"].stop()
	c.start("infra1").waitReady()
	one = etcdctl(t, client.Access{Endpoints: []string{c.clients["infra1"]}, Insecure: true})
	if got := one.run("get", "key"); got != "key\nvalue\n" {
		t.Errorf("the member that was started again: %q", got)
	}
}

// TestEtcdStranger keeps a machine out that was started with another cluster's list, or was not added.
func TestEtcdStranger(t *testing.T) {
	c := newEtcdCluster(t, "http", "a")
	c.startAll()
	c.add("b")
	e := ctlplaneEtcd(t)
	peer := "http://" + c.peers["b"]
	e.refuse("", []string{"member add", "--initial-cluster"}, "etcd", "--name", "b", "--data-dir", c.dataDir("b"),
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer, "--listen-client-urls", "http://"+c.clients["b"],
		"--initial-cluster", c.initial(), "--initial-cluster-state", "existing")
}

// TestEtcdByVariablesAndFile starts a member with variables, and one with a file, that serve clients at several places.
func TestEtcdByVariablesAndFile(t *testing.T) {
	dir := t.TempDir()
	byHTTP, peer, metrics, socket := freeAddress(t), freeAddress(t), freeAddress(t), filepath.Join(dir, "s")
	p := startEtcd(t, []string{
		"ETCD_NAME=by_variables", "ETCD_DATA_DIR=" + filepath.Join(dir, "data"), "ETCD_LISTEN_PEER_URLS=http://" + peer,
		"ETCD_LISTEN_CLIENT_URLS=unix://" + socket, "ETCD_ADVERTISE_CLIENT_URLS=unix://" + socket,
		"ETCD_LISTEN_CLIENT_HTTP_URLS=http://" + byHTTP, "ETCD_LISTEN_METRICS_URLS=http://" + metrics, "ETCD_MAX_WALS=3",
		"ETCD_WAL_DIR=" + filepath.Join(dir, "log"),
	})
	p.waitReady()
	if !p.logged(`"level":"warn"`, "--max-wals has no effect") {
		t.Errorf("no warning of --max-wals in:\n%s", p.logs())
	}
	e := etcdctl(t, client.Access{Endpoints: []string{"unix://" + socket}, Insecure: true})
	e.run("put", "key", "value")
	for _, url := range []string{"http://" + byHTTP + "/version", "http://" + metrics + "/health"} {
		if got := fetch(t, url); !strings.Contains(got, "etcdserver") && !strings.Contains(got, "true") {
			t.Errorf("%s: %q", url, got)
		}
	}
	p.stop()

	config := filepath.Join(dir, "etcd.yaml")
	content := fmt.Sprintf("name: by_variables\ndata-dir: %s\nwal-dir: %s\nlisten-peer-urls: http://%s\nlisten-client-urls: http://%s\nadvertise-client-urls: http://%s\nlog-format: console\n",
		filepath.Join(dir, "data"), filepath.Join(dir, "log"), peer, byHTTP, byHTTP)
	if err := os.WriteFile(config, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	p = startEtcd(t, []string{"ETCD_CONFIG_FILE=" + config, "ETCD_NAME=another"})
	p.waitReady()
	e = etcdctl(t, client.Access{Endpoints: []string{byHTTP}, Insecure: true})
	if got := e.run("get", "key"); got != "key\nvalue\n" {
		t.Errorf("after a restart by file: %q", got)
	}
}

// ctlplaneEtcd is our binary, with nothing in its environment that is meant for etcd.
func ctlplaneEtcd(t *testing.T) shell { return shell{t: t, path: binary} }

// TestEtcdRefusesToStart makes every mistake once: each is one line that says what to do, with exit code 1, and changes
// nothing.
func TestEtcdRefusesToStart(t *testing.T) {
	a := newUserCA(t)
	cert, key := a.issue("server", "127.0.0.1")
	_, otherKey := a.issue("other", "127.0.0.1")
	expired, expiredKey := a.issueExpired("expired", "127.0.0.1")
	taken := newEtcdCluster(t, "http", "taken")
	taken.startAll()
	theirs := t.TempDir()
	if err := os.MkdirAll(filepath.Join(theirs, "member", "snap"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(theirs, "member", "snap", "db"), []byte("bbolt"), 0o600); err != nil {
		t.Fatal(err)
	}
	https := "https://" + freeAddress(t)
	for name, test := range map[string]struct {
		words []string
		args  []string
	}{
		"unknown flag":         {[]string{"did you mean --data-dir?"}, []string{"--data-dri", "x"}},
		"bad URL":              {[]string{"--listen-client-urls", "localhost", "http://"}, []string{"--listen-client-urls", "localhost"}},
		"no certificate":       {[]string{"--cert-file", "--auto-tls"}, []string{"--listen-client-urls", https}},
		"no peer certificate":  {[]string{"--peer-cert-file", "--peer-auto-tls"}, []string{"--listen-peer-urls", https}},
		"missing file":         {[]string{"none.pem does not exist"}, []string{"--listen-client-urls", https, "--cert-file", "none.pem", "--key-file", key}},
		"another's key":        {[]string{"don't make a pair"}, []string{"--listen-client-urls", https, "--cert-file", cert, "--key-file", otherKey}},
		"expired":              {[]string{"expired at", "replace it"}, []string{"--listen-client-urls", https, "--cert-file", expired, "--key-file", expiredKey}},
		"client port taken":    {[]string{"is taken", "choose another address"}, []string{"--listen-client-urls", "http://" + taken.clients["taken"]}},
		"peer port taken":      {[]string{"is taken", "choose another address"}, []string{"--listen-peer-urls", "http://" + taken.peers["taken"]}},
		"etcd's own directory": {[]string{theirs, "data of etcd", "snapshot import"}, []string{"--data-dir", theirs}},
		"directory in use":     {[]string{"in use by another process"}, []string{"--name", "taken", "--data-dir", taken.dataDir("taken")}},
		"another's directory":  {[]string{"belongs to another"}, []string{"--name", "other", "--data-dir", taken.dataDir("taken")}},
		"not in the list":      {[]string{"--initial-cluster does not list"}, []string{"--initial-cluster", "b=http://10.0.0.1:2380"}},
		"listed elsewhere":     {[]string{"make them the same"}, []string{"--initial-cluster", "default=http://10.0.0.1:2380", "--initial-advertise-peer-urls", "http://10.0.0.2:2380"}},
		"log nowhere":          {[]string{"--log-outputs", "no such file"}, []string{"--log-outputs", "/none/etcd.log"}},
		"bad token":            {[]string{"auth-token"}, []string{"--auth-token", "paper"}},
	} {
		t.Run(name, func(t *testing.T) {
			if name == "another's directory" {
				taken.processes["taken"].stop()
				defer func() { taken.start("taken").waitReady() }()
			}
			dir := filepath.Join(t.TempDir(), "data")
			args := append([]string{"etcd", "--data-dir", dir, "--listen-peer-urls", "http://" + freeAddress(t), "--listen-client-urls", "http://" + freeAddress(t)}, test.args...)
			s := ctlplaneEtcd(t)
			s.refuse("", test.words, args...)
			_, err := s.try("", args...)
			complaint := strings.TrimSpace(err.Error())
			complaint = complaint[strings.Index(complaint, "exit status"):]
			if !strings.HasPrefix(complaint, "exit status 1: ") || strings.Count(lastLine(complaint), "error: ") != 1 {
				t.Errorf("not one line with exit code 1: %s", complaint)
			}
			if entries, err := os.ReadDir(dir); err == nil && name != "client port taken" && len(entries) > 1 {
				t.Errorf("the data directory has %v", entries)
			}
		})
	}
}

// lastLine is what a program that complains ends with; before it there may be warnings in its log.
func lastLine(text string) string { return text[strings.LastIndex(text, "\n")+1:] }

// TestNodeCannotJoinPlainText refuses a node whose only way to the masters would be a port in plain text.
func TestNodeCannotJoinPlainText(t *testing.T) {
	c := start(t, 1, 0, "--kv-insecure")
	s := ctlplane(t, c.Kubeconfig())
	token := strings.TrimSpace(s.run("token", "create"))
	server := strings.TrimPrefix(c.Masters[0].Access.Server, "https://")
	s.refuse("", []string{"plain text", "--kv-insecure"}, "join", server, "--name", "n", "--token", token, "--data-dir", fmt.Sprint(t.TempDir(), "/n"))
}
