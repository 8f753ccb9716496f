package etcdv3

import (
	"strings"
	"testing"
)

// TestEtcdctlUsersAndRoles uses etcd's own verbs.
func TestEtcdctlUsersAndRoles(t *testing.T) {
	e := etcdctl{TB: t, endpoint: serve(t, newLocalBackend(t), ServerConfig{}, cheapPasswords)}
	e.expect("User root created\n", "user", "add", "root:pw")
	e.expect("User bob created\n", "user", "add", "bob", "--no-password")
	e.expect("User alice created\n", "user", "add", "alice:pw")
	e.expect("Role root is granted to user root\n", "user", "grant-role", "root", "root")
	e.expect("Role r created\n", "role", "add", "r")
	e.expect("Role r updated\n", "role", "grant-permission", "r", "--prefix=true", "readwrite", "a/")
	e.expect("Role r updated\n", "role", "grant-permission", "r", "read", "k")
	e.expect("Role r is granted to user alice\n", "user", "grant-role", "alice", "r")
	e.expect("Authentication Enabled\n", "auth", "enable")

	e.refused("user name is empty", "put", "a/1", "v")
	e.refused("authentication failed", "--user", "alice:no", "put", "a/1", "v")
	root, alice := e, e
	root.flags, alice.flags = []string{"--user", "root:pw"}, []string{"--user", "alice:pw"}
	alice.expect("OK\n", "put", "a/1", "v")
	alice.expect("a/1\nv\n", "get", "--prefix", "a/")
	alice.refused("permission denied", "put", "k", "v")
	alice.refused("permission denied", "user", "list")
	alice.refused("permission denied", "snapshot", "save", t.TempDir()+"/s")
	root.expect("alice\nbob\nroot\n", "user", "list")
	root.expect("r\n", "role", "list")
	root.expect("Role r\nKV Read:\n\t[a/, a0) (prefix a/)\n\tk\nKV Write:\n\t[a/, a0) (prefix a/)\n", "role", "get", "r")
	alice.expect("User: alice\nRoles: r\n", "user", "get", "alice")
	if got := root.run("new\n", "user", "passwd", "alice", "--interactive=false"); got != "Password updated\n" {
		t.Errorf("passwd: %q", got)
	}
	alice.refused("authentication failed", "get", "a/1")
	root.expect("Permission of key k is revoked from role r\n", "role", "revoke-permission", "r", "k")
	root.expect("Role r is revoked from user alice\n", "user", "revoke-role", "alice", "r")
	root.expect("Role r deleted\n", "role", "delete", "r")
	root.expect("User alice deleted\n", "user", "delete", "alice")
	root.refused("invalid auth management", "user", "delete", "root")
	root.expect("Authentication Disabled\n", "auth", "disable")
	e.expect("OK\n", "put", "k", "v")
}

// refused runs a command that has to fail and to say why.
func (e etcdctl) refused(why string, args ...string) {
	e.Helper()
	out, err := e.command(e.Context(), args...).CombinedOutput()
	if err == nil || !strings.Contains(string(out), why) {
		e.Errorf("etcdctl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}
