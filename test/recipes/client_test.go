package recipes

import (
	"errors"
	"fmt"
	"io"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// TestClient makes the calls that the client's documentation has examples of.
func TestClient(t *testing.T) {
	ctx, members, c := three(t)
	t.Run("put and get", func(t *testing.T) {
		if _, err := c.Put(ctx, "", "value"); !errors.Is(err, rpctypes.ErrEmptyKey) {
			t.Errorf("an empty key: %v", err)
		}
		first := ok[*clientv3.PutResponse](t)(c.Put(ctx, "kv/a", "1"))
		ok[*clientv3.PutResponse](t)(c.Put(ctx, "kv/a", "2"))
		if now := ok[*clientv3.GetResponse](t)(c.Get(ctx, "kv/a")); string(now.Kvs[0].Value) != "2" {
			t.Errorf("now %v", now.Kvs)
		}
		if then := ok[*clientv3.GetResponse](t)(c.Get(ctx, "kv/a", clientv3.WithRev(first.Header.Revision))); string(then.Kvs[0].Value) != "1" {
			t.Errorf("then %v", then.Kvs)
		}
		for i := range 3 {
			ok[*clientv3.PutResponse](t)(c.Put(ctx, fmt.Sprint("sorted/", i), "v"))
		}
		sorted := ok[*clientv3.GetResponse](t)(c.Get(ctx, "sorted/", clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend)))
		if len(sorted.Kvs) != 3 || string(sorted.Kvs[0].Key) != "sorted/2" {
			t.Errorf("sorted %v", sorted.Kvs)
		}
		gone := ok[*clientv3.DeleteResponse](t)(c.Delete(ctx, "sorted/", clientv3.WithPrefix(), clientv3.WithPrevKV()))
		if gone.Deleted != 3 || len(gone.PrevKvs) != 3 {
			t.Errorf("deleted %v", gone)
		}
		must(t, func() error {
			_, err := c.Compact(ctx, first.Header.Revision+1, clientv3.WithCompactPhysical())
			return err
		}())
		if _, err := c.Get(ctx, "kv/a", clientv3.WithRev(first.Header.Revision)); !errors.Is(err, rpctypes.ErrCompacted) {
			t.Errorf("compacted: %v", err)
		}
	})
	t.Run("transaction", func(t *testing.T) {
		ok[*clientv3.PutResponse](t)(c.Put(ctx, "txn", "xyz"))
		r := ok[*clientv3.TxnResponse](t)(c.Txn(ctx).
			If(clientv3.Compare(clientv3.Value("txn"), ">", "abc")).
			Then(clientv3.OpPut("txn", "XYZ")).
			Else(clientv3.OpPut("txn", "ABC")).Commit())
		if now := ok[*clientv3.GetResponse](t)(c.Get(ctx, "txn")); !r.Succeeded || string(now.Kvs[0].Value) != "XYZ" {
			t.Errorf("%v, %v", r, now.Kvs)
		}
		for _, op := range []clientv3.Op{clientv3.OpPut("do", "1"), clientv3.OpGet("do"), clientv3.OpDelete("do")} {
			ok[clientv3.OpResponse](t)(c.Do(ctx, op))
		}
	})
	t.Run("lease", func(t *testing.T) {
		lease := ok[*clientv3.LeaseGrantResponse](t)(c.Grant(ctx, 60))
		ok[*clientv3.PutResponse](t)(c.Put(ctx, "leased", "v", clientv3.WithLease(lease.ID)))
		if once := ok[*clientv3.LeaseKeepAliveResponse](t)(c.KeepAliveOnce(ctx, lease.ID)); once.TTL != 60 {
			t.Errorf("kept alive for %d s", once.TTL)
		}
		if kept := <-ok[<-chan *clientv3.LeaseKeepAliveResponse](t)(c.KeepAlive(ctx, lease.ID)); kept == nil || kept.TTL != 60 {
			t.Errorf("kept alive: %v", kept)
		}
		if left := ok[*clientv3.LeaseTimeToLiveResponse](t)(c.TimeToLive(ctx, lease.ID, clientv3.WithAttachedKeys())); len(left.Keys) != 1 || left.GrantedTTL != 60 {
			t.Errorf("time to live: %v", left)
		}
		ok[*clientv3.LeaseRevokeResponse](t)(c.Revoke(ctx, lease.ID))
		if r := ok[*clientv3.GetResponse](t)(c.Get(ctx, "leased")); len(r.Kvs) != 0 {
			t.Errorf("after its lease: %v", r.Kvs)
		}
	})
	t.Run("watch", func(t *testing.T) {
		one := c.Watch(ctx, "watch/a", clientv3.WithCreatedNotify())
		many := c.Watch(ctx, "watch/", clientv3.WithPrefix(), clientv3.WithProgressNotify(), clientv3.WithCreatedNotify())
		<-one
		<-many
		ok[*clientv3.PutResponse](t)(c.Put(ctx, "watch/a", "1"))
		ok[*clientv3.PutResponse](t)(c.Put(ctx, "watch/b", "1"))
		if r := <-one; len(r.Events) != 1 || !r.Events[0].IsCreate() {
			t.Errorf("of one: %v", r)
		}
		for seen := 0; seen < 2; {
			seen += len((<-many).Events)
		}
		must(t, c.RequestProgress(ctx))
		if r := <-many; !r.IsProgressNotify() {
			t.Errorf("progress: %v", r)
		}
	})
	t.Run("maintenance and cluster", func(t *testing.T) {
		for _, m := range members.Members {
			s := ok[*clientv3.StatusResponse](t)(c.Status(ctx, m.Client))
			if s.Leader == 0 || s.Version == "" || s.DbSize == 0 {
				t.Errorf("status of %s: %v", m.Name, s)
			}
			ok[*clientv3.DefragmentResponse](t)(c.Defragment(ctx, m.Client))
		}
		if list := ok[*clientv3.MemberListResponse](t)(c.MemberList(ctx)); len(list.Members) != 3 {
			t.Errorf("members %v", list.Members)
		}
		ok[*clientv3.AlarmResponse](t)(c.AlarmList(ctx))
		backup := ok[io.ReadCloser](t)(c.Snapshot(ctx))
		n, err := io.Copy(io.Discard, backup)
		if err != nil || n == 0 {
			t.Errorf("a snapshot of %d bytes: %v", n, err)
		}
		must(t, backup.Close())
	})
}

// TestUsers makes the calls of the client's examples of users and roles.
func TestUsers(t *testing.T) {
	ctx, members, c := three(t)
	ok[*clientv3.AuthRoleAddResponse](t)(c.RoleAdd(ctx, "root"))
	ok[*clientv3.AuthUserAddResponse](t)(c.UserAdd(ctx, "root", "123"))
	ok[*clientv3.AuthUserGrantRoleResponse](t)(c.UserGrantRole(ctx, "root", "root"))
	ok[*clientv3.AuthRoleAddResponse](t)(c.RoleAdd(ctx, "r"))
	ok[*clientv3.AuthRoleGrantPermissionResponse](t)(c.RoleGrantPermission(ctx, "r", "foo", "zoo", clientv3.PermissionType(clientv3.PermReadWrite)))
	ok[*clientv3.AuthUserAddResponse](t)(c.UserAdd(ctx, "u", "123"))
	ok[*clientv3.AuthUserGrantRoleResponse](t)(c.UserGrantRole(ctx, "u", "r"))
	ok[*clientv3.AuthEnableResponse](t)(c.AuthEnable(ctx))
	as := func(user string) *clientv3.Client {
		client := ok[*clientv3.Client](t)(clientv3.New(clientv3.Config{Endpoints: []string{members.Members[0].Client, members.Members[1].Client}, Username: user, Password: "123"}))
		t.Cleanup(func() { _ = client.Close() })
		return client
	}
	user := as("u")
	ok[*clientv3.PutResponse](t)(user.Put(ctx, "foo1", "bar"))
	if _, err := user.Txn(ctx).If(clientv3.Compare(clientv3.Value("zoo1"), ">", "abc")).Then(clientv3.OpPut("zoo1", "XYZ")).Commit(); !errors.Is(err, rpctypes.ErrPermissionDenied) {
		t.Errorf("out of range: %v", err)
	}
	root := as("root")
	if role := ok[*clientv3.AuthRoleGetResponse](t)(root.RoleGet(ctx, "r")); len(role.Perm) != 1 {
		t.Errorf("role %v", role)
	}
	ok[*clientv3.AuthDisableResponse](t)(root.AuthDisable(ctx))
}
