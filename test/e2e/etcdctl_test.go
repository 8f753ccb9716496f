package e2e

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ctlplane/ctlplane/client"
)

// etcdctl is Debian's etcdctl, with a cluster's certificates when it has TLS.
func etcdctl(t *testing.T, access client.Access) shell {
	env := []string{"ETCDCTL_API=3", "ETCDCTL_ENDPOINTS=" + strings.Join(access.Endpoints, ",")}
	if !access.Insecure {
		dir := t.TempDir()
		for name, content := range map[string][]byte{"CACERT": access.CA, "CERT": access.Cert, "KEY": access.Key} {
			path := filepath.Join(dir, name)
			if err := os.WriteFile(path, content, 0o600); err != nil {
				t.Fatal(err)
			}
			env = append(env, "ETCDCTL_"+name+"="+path)
		}
	}
	return shell{t: t, path: "etcdctl", env: env}
}

func TestEtcdctl(t *testing.T) {
	for _, test := range []struct {
		name  string
		flags []string
	}{{"TLS", nil}, {"plain text", []string{"--kv-insecure"}}} {
		t.Run(test.name, func(t *testing.T) {
			c := start(t, 3, 0, test.flags...)
			etcdctlTour(t, etcdctl(t, c.Masters[0].Access))
		})
	}
}

func etcdctlTour(t *testing.T, e shell) {
	var put struct {
		Header struct {
			Revision int64 `json:"revision"`
		} `json:"header"`
	}
	if err := json.Unmarshal([]byte(e.run("put", "a/1", "one", "-w", "json")), &put); err != nil {
		t.Fatal(err)
	}
	first := put.Header.Revision
	e.run("put", "a/2", "two")
	e.run("put", "a/1", "uno")
	at := func(n int64) string { b, _ := json.Marshal(n); return string(b) }
	if got := e.run("get", "--prefix", "a/"); got != "a/1\nuno\na/2\ntwo\n" {
		t.Errorf("get --prefix: %q", got)
	}
	if got := e.run("get", "--prefix", "a/", "--rev", at(first)); got != "a/1\none\n" {
		t.Errorf("get --rev %d: %q", first, got)
	}

	watch := exec.CommandContext(t.Context(), e.path, "watch", "--prefix", "a/", "--rev", at(first))
	watch.Env = append(os.Environ(), e.env...)
	events, err := watch.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := watch.Start(); err != nil {
		t.Fatal(err)
	}
	if got := e.run("del", "a/2"); got != "1\n" {
		t.Errorf("del: %q", got)
	}
	want := []string{"PUT", "a/1", "one", "PUT", "a/2", "two", "PUT", "a/1", "uno", "DELETE", "a/2"}
	for scanner := bufio.NewScanner(events); len(want) > 0 && scanner.Scan(); want = want[1:] {
		if scanner.Text() != want[0] {
			t.Errorf("watch printed %q, want %q", scanner.Text(), want[0])
		}
	}
	_ = watch.Process.Kill()
	_ = watch.Wait()
	if len(want) > 0 {
		t.Errorf("watch ended before it printed %v", want)
	}

	contains(t, e.feed("value(\"a/1\") = \"uno\"\n\nput a/1 eins\nget a/1\n\nput a/1 never\n\n", "txn"), "SUCCESS", "eins")
	lease := strings.Fields(e.run("lease", "grant", "60"))[1]
	e.run("put", "--lease", lease, "a/leased", "x")
	contains(t, e.run("lease", "keep-alive", "--once", lease), "keepalived", lease)
	contains(t, e.run("lease", "timetolive", "--keys", lease), "a/leased")
	e.run("lease", "revoke", lease)
	if got := e.run("get", "a/leased"); got != "" {
		t.Errorf("the key of a revoked lease is there: %q", got)
	}
	contains(t, e.run("compaction", at(first+2)), "compacted revision")
	e.refuse("", []string{"required revision has been compacted"}, "get", "a/1", "--rev", at(first))
	contains(t, e.run("member", "list"), "m1", "m2", "m3", "started")
	contains(t, e.run("endpoint", "status"), "true", "false")
	e.run("endpoint", "health") // it says so on its standard error
	e.run("user", "add", "ann:secret")
	contains(t, e.run("user", "list"), "ann")
}
