package e2e

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// storeClient is etcd's own client of one endpoint, as a user unless the name is empty.
func storeClient(t *testing.T, endpoint, user, password string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{
		Endpoints: []string{"http://" + endpoint}, Username: user, Password: password,
		DialTimeout: patience, Logger: zap.NewNop(),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// picture is all that a client can see of a store.
type picture struct {
	Revision, Compacted int64
	Keys                map[int64]string // a digest of all keys, at some revisions
	Events              string           // a digest of all events from the compaction on
	Leases              map[string]string
	Users, Roles        map[string]string
	AuthEnabled         bool
	AuthRevision        uint64
}

// takePicture looks at everything. compacted is the revision that was compacted at last.
func takePicture(t *testing.T, c *clientv3.Client, compacted int64) picture {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	p := picture{Compacted: compacted, Keys: map[int64]string{}, Leases: map[string]string{}, Users: map[string]string{}, Roles: map[string]string{}}
	now, err := c.Get(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	p.Revision = now.Header.Revision
	if _, err := c.Get(ctx, "a", clientv3.WithRev(compacted-1)); !errors.Is(err, rpctypes.ErrCompacted) {
		t.Errorf("a read before the compaction at %d: %v", compacted, err)
	}
	for _, rev := range []int64{compacted, compacted + 1, (compacted + p.Revision) / 2, p.Revision} {
		got, err := c.Get(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithRev(rev))
		if err != nil {
			t.Fatal(err)
		}
		p.Keys[rev] = fmt.Sprintf("%d keys %s", got.Count, digest(t, got.Kvs))
	}
	p.Events = allEvents(ctx, t, c, compacted, p.Revision)
	p.leases(ctx, t, c)
	p.auth(ctx, t, c)
	return p
}

func digest(t *testing.T, kvs []*mvccpb.KeyValue) string {
	t.Helper()
	sum := sha256.New()
	for _, kv := range kvs {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(kv)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(sum, "%d ", len(b))
		sum.Write(b)
	}
	return fmt.Sprintf("%x", sum.Sum(nil))
}

// allEvents watches everything between two revisions.
func allEvents(ctx context.Context, t *testing.T, c *clientv3.Client, from, to int64) string {
	t.Helper()
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	var kvs []*mvccpb.KeyValue
	for response := range c.Watch(ctx, "\x00", clientv3.WithFromKey(), clientv3.WithRev(from+1), clientv3.WithPrevKV()) {
		if err := response.Err(); err != nil {
			t.Fatal(err)
		}
		for _, e := range response.Events {
			kvs = append(kvs, e.Kv, e.PrevKv)
		}
		if len(kvs) > 0 && kvs[len(kvs)-2].ModRevision == to {
			return fmt.Sprintf("%d events %s", len(kvs)/2, digest(t, kvs))
		}
	}
	t.Fatal("the watch ended")
	return ""
}

func (p *picture) leases(ctx context.Context, t *testing.T, c *clientv3.Client) {
	t.Helper()
	leases, err := c.Leases(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range leases.Leases {
		one, err := c.TimeToLive(ctx, l.ID, clientv3.WithAttachedKeys())
		if err != nil {
			t.Fatal(err)
		}
		if one.TTL <= 0 || one.TTL > one.GrantedTTL {
			t.Errorf("lease %x has %d of %d seconds left", l.ID, one.TTL, one.GrantedTTL)
		}
		slices.SortFunc(one.Keys, slices.Compare)
		p.Leases[fmt.Sprintf("%x", l.ID)] = fmt.Sprintf("%d s %q", one.GrantedTTL, one.Keys)
	}
}

func (p *picture) auth(ctx context.Context, t *testing.T, c *clientv3.Client) {
	t.Helper()
	status, err := c.AuthStatus(ctx)
	if err != nil {
		t.Fatal(err)
	}
	p.AuthEnabled, p.AuthRevision = status.Enabled, status.AuthRevision
	users, err := c.UserList(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range users.Users {
		u, err := c.UserGet(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		p.Users[name] = fmt.Sprint(u.Roles)
	}
	roles, err := c.RoleList(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range roles.Roles {
		r, err := c.RoleGet(ctx, name)
		if err != nil {
			t.Fatal(err)
		}
		p.Roles[name] = fmt.Sprint((*pb.AuthRoleGetResponse)(r).Perm)
	}
}

// fill puts a hundred thousand keys, changes and deletes some, grants leases, compacts, and tells users apart. It
// returns the compaction revision.
func fill(t *testing.T, c *clientv3.Client) (compacted int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	const keys, perTxn = 100_000, 100
	key := func(i int) string { return fmt.Sprintf("key/%06d", i*7919%keys) }
	for i := 0; i < keys; i += perTxn {
		ops := make([]clientv3.Op, perTxn)
		for j := range ops {
			ops[j] = clientv3.OpPut(key(i+j), fmt.Sprintf("value-%064d", i+j))
		}
		answer, err := c.Txn(ctx).Then(ops...).Commit()
		if err != nil {
			t.Fatal(err)
		}
		if i == keys/2 {
			compacted = answer.Header.Revision
		}
	}
	for i := range 20 {
		lease, err := c.Grant(ctx, int64(3600+i))
		if err != nil {
			t.Fatal(err)
		}
		for j := range 5 {
			put(ctx, t, c, key(1000*i+j), "leased", clientv3.WithLease(lease.ID))
		}
		if _, err := c.Delete(ctx, key(1000*i), clientv3.WithRange(key(1000*i)+"5")); err != nil {
			t.Fatal(err)
		}
		put(ctx, t, c, key(1000*i+50), "again")
	}
	if _, err := c.Compact(ctx, compacted, clientv3.WithCompactPhysical()); err != nil {
		t.Fatal(err)
	}
	addUsers(ctx, t, c)
	return compacted
}

func put(ctx context.Context, t *testing.T, c *clientv3.Client, key, value string, options ...clientv3.OpOption) {
	t.Helper()
	if _, err := c.Put(ctx, key, value, options...); err != nil {
		t.Fatal(err)
	}
}

// addUsers adds root, with the password "secret", and a reader, and turns authentication on.
func addUsers(ctx context.Context, t *testing.T, c *clientv3.Client) {
	t.Helper()
	for _, step := range []func() error{
		func() error { _, err := c.RoleAdd(ctx, "root"); return err },
		func() error { _, err := c.UserAdd(ctx, "root", "secret"); return err },
		func() error { _, err := c.UserGrantRole(ctx, "root", "root"); return err },
		func() error { _, err := c.RoleAdd(ctx, "readers"); return err },
		func() error {
			_, err := c.RoleGrantPermission(ctx, "readers", "key/", "key0", clientv3.PermissionType(clientv3.PermRead))
			return err
		},
		func() error { _, err := c.UserAdd(ctx, "reader", "pass"); return err },
		func() error { _, err := c.UserGrantRole(ctx, "reader", "readers"); return err },
		func() error { _, err := c.AuthEnable(ctx); return err },
	} {
		if err := step(); err != nil {
			t.Fatal(err)
		}
	}
}
