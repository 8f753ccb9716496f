package migrate

import (
	"errors"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func as(name, password string) func(*clientv3.Config) {
	return func(c *clientv3.Config) { c.Username, c.Password = name, password }
}

// TestMigrateUsers moves an etcd with users, over TLS: nobody is lent the migration's rights, and what changes after the snapshot
// is taken over.
func TestMigrateUsers(t *testing.T) {
	ca := newAuthority(t)
	for _, name := range []string{"server", "root", "plain"} {
		ca.issue(name)
	}
	from := startEtcd(t, "https", ca.serverFlags("server")...)
	root := connect(t, from, ca.with("root"))
	for _, err := range []error{
		do(root.UserAdd(t.Context(), "root", "secret")),
		do(root.UserGrantRole(t.Context(), "root", "root")),
		do(root.RoleAdd(t.Context(), "reads")),
		do(root.RoleGrantPermission(t.Context(), "reads", "a", "b", clientv3.PermissionType(clientv3.PermRead))),
		do(root.UserAdd(t.Context(), "reader", "pass")),
		do(root.UserGrantRole(t.Context(), "reader", "reads")),
		do(root.Put(t.Context(), "a", "1")),
		do(root.AuthEnable(t.Context())),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}

	// The migration is root by the common name of its certificate.
	config := source(from)
	ca.with("root")(&config)
	m := newMember(t, "https", ca.serverFlags("server")...)
	m.migrate(config)
	m.waitLevel()
	// Without a token a call has no user, whatever certificate the migration, or the caller, has.
	for _, name := range []string{"plain", "root"} {
		_, err := connect(t, m.url, ca.with(name)).Get(t.Context(), "a")
		if !errors.Is(err, rpctypes.ErrUserEmpty) {
			t.Errorf("a call of %q without a user: %v", name, err)
		}
	}
	reader := connect(t, m.url, ca.with("plain"), as("reader", "pass"))
	check := func() {
		t.Helper()
		got, err := reader.Get(t.Context(), "a")
		if err != nil || len(got.Kvs) != 1 {
			t.Errorf("the reader reads %v, %v", got, err)
		}
		if _, err := reader.Put(t.Context(), "a", "2"); !errors.Is(err, rpctypes.ErrPermissionDenied) {
			t.Errorf("the reader writes: %v", err)
		}
	}
	check()
	// Each way in is asked for both halves of what changes after the snapshot.
	admin := connect(t, m.url, ca.with("plain"), as("root", "secret"))
	if err := errors.Join(do(admin.UserAdd(t.Context(), "later", "word")), do(root.UserGrantRole(t.Context(), "later", "reads")),
		do(root.UserAdd(t.Context(), "gone", "x")), do(admin.UserDelete(t.Context(), "gone"))); err != nil {
		t.Fatal(err)
	}
	m.cutOver()
	check()
	later := connect(t, m.url, ca.with("plain"), as("later", "word"))
	if got, err := later.Get(t.Context(), "a"); err != nil || len(got.Kvs) != 1 {
		t.Errorf("the user that was added meanwhile reads %v, %v", got, err)
	}
	byName := connect(t, m.url, ca.with("root"))
	users, err := byName.UserList(t.Context())
	if err != nil || len(users.Users) != 3 {
		t.Errorf("users %v, %v", users, err)
	}
	if _, err := connect(t, m.url, ca.with("plain")).Get(t.Context(), "a"); !errors.Is(err, rpctypes.ErrPermissionDenied) { // the name is no user's
		t.Errorf("a call without a user after the move: %v", err)
	}
}

func do[R any](_ R, err error) error { return err }

// TestMigrateNeedsRoot: without the rights to read everything, nothing begins.
func TestMigrateNeedsRoot(t *testing.T) {
	from := startEtcd(t, "http")
	root := connect(t, from)
	if err := errors.Join(do(root.UserAdd(t.Context(), "root", "secret")), do(root.UserGrantRole(t.Context(), "root", "root")),
		do(root.UserAdd(t.Context(), "other", "pass")), do(root.AuthEnable(t.Context()))); err != nil {
		t.Fatal(err)
	}
	config := source(from)
	as("other", "pass")(&config)
	for name, config := range map[string]clientv3.Config{"nobody": source(from), "other": config} {
		m := newMember(t, "http")
		m.migrate(config)
		err := <-m.ended
		if err == nil || !errorSays(err, "users are enabled: give a user with the role root") {
			t.Errorf("as %s: %v", name, err)
		}
	}
}
