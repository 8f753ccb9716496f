package main

import (
	"os"
	"strings"
	"testing"

	"github.com/ctlplane/ctlplane/raftstore"
)

func TestSnapshotStatusFormats(t *testing.T) {
	status := raftstore.BackupStatus{Format: raftstore.BackupEtcd, Hash: 0xabc, Revision: 7, TotalKey: 3, TotalSize: 20480, Version: "3.7.0"}
	for format, want := range map[string]string{
		"simple": "abc, 7, 3, 20 kB, 3.7.0, etcd\n",
		"json":   `{"format":"etcd","hash":2748,"revision":7,"totalKey":3,"totalSize":20480,"version":"3.7.0"}` + "\n",
		"fields": "\"Hash\" : 2748\n\"Revision\" : 7\n\"Keys\" : 3\n\"Size\" : 20480\n\"Version\" : \"3.7.0\"\n\"Format\" : \"etcd\"\n",
		"table": `
+------+----------+------------+------------+-----------------+--------+
| HASH | REVISION | TOTAL KEYS | TOTAL SIZE | STORAGE VERSION | FORMAT |
+------+----------+------------+------------+-----------------+--------+
| abc  | 7        | 3          | 20 kB      | 3.7.0           | etcd   |
+------+----------+------------+------------+-----------------+--------+
`[1:],
	} {
		var out strings.Builder
		if err := statusPrinters[format](&out, status); err != nil {
			t.Fatal(err)
		}
		if out.String() != want {
			t.Errorf("%s:\n%s\nwant:\n%s", format, out.String(), want)
		}
	}
}

// TestInitialClusterOfARestore: the member must be among those that are restored, and their order makes no difference.
func TestInitialClusterOfARestore(t *testing.T) {
	one := restoreFlags{name: "a", cluster: "a=http://x:1,b=http://y:1", token: "t", peerURLs: "http://x:1"}
	other := restoreFlags{name: "b", cluster: "b=http://y:1,a=http://x:1", token: "t"}
	first, err := one.clusterName()
	if err != nil {
		t.Fatal(err)
	}
	if second, err := other.clusterName(); err != nil || second != first {
		t.Errorf("%q and %q, %v", first, second, err)
	}
	for _, bad := range []restoreFlags{{name: "c", cluster: one.cluster}, {name: "a", cluster: one.cluster, peerURLs: "http://z:1"}, {name: "a", cluster: "a"}} {
		if _, err := bad.clusterName(); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
}

// TestUserAndPassword: the forms that etcdctl takes, and an error where there is no terminal to ask at.
func TestUserAndPassword(t *testing.T) {
	terminal := os.Stdin
	t.Cleanup(func() { os.Stdin = terminal })
	none, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	defer none.Close()
	os.Stdin = none
	for _, c := range []struct{ user, given, name, password, failure string }{
		{user: "root:secret", name: "root", password: "secret"},
		{user: "root:a:b", name: "root", password: "a:b"},
		{user: "root:", name: "root"},
		{user: "root", given: "secret", name: "root", password: "secret"},
		{user: ""},
		{user: "root", failure: "no password for user root"},
	} {
		name, password, err := userAndPassword(c.user, c.given)
		if name != c.name || password != c.password || (err != nil) != (c.failure != "") || err != nil && !strings.Contains(err.Error(), c.failure) {
			t.Errorf("--user %q --password %q: %q, %q, %v", c.user, c.given, name, password, err)
		}
	}
}
