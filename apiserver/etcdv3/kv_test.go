package etcdv3

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestPutGetDelete(t *testing.T) {
	c, ctx := newClient(t), t.Context()
	put, err := c.Put(ctx, "a/1", "one")
	if err != nil {
		t.Fatal(err)
	}
	if h := put.Header; h.Revision != 2 || h.ClusterId != 1 || h.MemberId != localID || h.RaftTerm == 0 {
		t.Errorf("header %v", h)
	}
	for _, k := range []string{"a/2", "a/3", "b"} {
		if _, err := c.Put(ctx, k, "v"); err != nil {
			t.Fatal(err)
		}
	}
	got, err := c.Get(ctx, "a/", clientv3.WithPrefix(), clientv3.WithLimit(2), clientv3.WithSort(clientv3.SortByKey, clientv3.SortDescend))
	if err != nil || got.Count != 3 || !got.More || string(got.Kvs[0].Key) != "a/3" {
		t.Errorf("prefix: %v, %v", got, err)
	}
	old, err := c.Get(ctx, "a/", clientv3.WithPrefix(), clientv3.WithRev(2))
	if err != nil || len(old.Kvs) != 1 || string(old.Kvs[0].Value) != "one" {
		t.Errorf("at revision 2: %v, %v", old, err)
	}
	del, err := c.Delete(ctx, "a/", clientv3.WithPrefix(), clientv3.WithPrevKV())
	if err != nil || del.Deleted != 3 || len(del.PrevKvs) != 3 {
		t.Errorf("delete: %v, %v", del, err)
	}
}

func TestTxn(t *testing.T) {
	c, ctx := newClient(t), t.Context()
	create := func() (*clientv3.TxnResponse, error) {
		return c.Txn(ctx).
			If(clientv3.Compare(clientv3.CreateRevision("k"), "=", 0)).
			Then(clientv3.OpPut("k", "v")).
			Else(clientv3.OpGet("k")).Commit()
	}
	if r, err := create(); err != nil || !r.Succeeded {
		t.Fatalf("first: %v, %v", r, err)
	}
	r, err := create()
	if err != nil || r.Succeeded || string(r.Responses[0].GetResponseRange().Kvs[0].Value) != "v" {
		t.Errorf("second: %v, %v", r, err)
	}
}

func TestCompact(t *testing.T) {
	c, ctx := newClient(t), t.Context()
	for i := range 5 {
		if _, err := c.Put(ctx, "k", fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Compact(ctx, 4); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(ctx, "k", clientv3.WithRev(3)); !errors.Is(err, rpctypes.ErrCompacted) {
		t.Errorf("read of a compacted revision: %v", err)
	}
	if _, err := c.Compact(ctx, 4); !errors.Is(err, rpctypes.ErrCompacted) {
		t.Errorf("second compaction: %v", err)
	}
	if _, err := c.Get(ctx, "k", clientv3.WithRev(100)); !errors.Is(err, rpctypes.ErrFutureRev) {
		t.Errorf("read of a future revision: %v", err)
	}
}

// Each refusal is the error that etcd's clients compare with, and changes nothing.
func TestBadRequests(t *testing.T) {
	c, ctx := newClient(t), t.Context()
	put := func(key, value string, opts ...clientv3.OpOption) func() error {
		return func() error { _, err := c.Put(ctx, key, value, opts...); return err }
	}
	txn := func(ops ...clientv3.Op) func() error {
		return func() error { _, err := c.Txn(ctx).Then(ops...).Commit(); return err }
	}
	many := make([]clientv3.Op, 129)
	for i := range many {
		many[i] = clientv3.OpPut(fmt.Sprint(i), "v")
	}
	big := string(bytes.Repeat([]byte("x"), 1<<20))
	for _, test := range []struct {
		name string
		call func() error
		want error
	}{
		{"empty key", put("", "v"), rpctypes.ErrEmptyKey},
		{"empty key of a get", func() error { _, err := c.Get(ctx, ""); return err }, rpctypes.ErrEmptyKey},
		{"empty key of a delete", func() error { _, err := c.Delete(ctx, ""); return err }, rpctypes.ErrEmptyKey},
		{"unknown lease", put("k", "v", clientv3.WithLease(99)), rpctypes.ErrLeaseNotFound},
		{"ignored value of no key", put("k", "", clientv3.WithIgnoreValue()), rpctypes.ErrKeyNotFound},
		{"value given and ignored", put("k", "v", clientv3.WithIgnoreValue()), rpctypes.ErrValueProvided},
		{"over 1.5 MiB", put("k", big+big[:600<<10]), rpctypes.ErrRequestTooLarge},
		{"transaction over 1.5 MiB", txn(clientv3.OpPut("a", big), clientv3.OpPut("b", big[:600<<10])), rpctypes.ErrRequestTooLarge},
		{"key put twice", txn(clientv3.OpPut("k", "1"), clientv3.OpPut("k", "2")), rpctypes.ErrDuplicateKey},
		{"too many operations", txn(many...), rpctypes.ErrTooManyOps},
		{"revoke of no lease", func() error { _, err := c.Revoke(ctx, 99); return err }, rpctypes.ErrLeaseNotFound},
		{"lease of three hundred years", func() error { _, err := c.Grant(ctx, 9_000_000_001); return err }, rpctypes.ErrLeaseTTLTooLarge},
		{"compaction of the future", func() error { _, err := c.Compact(ctx, 50); return err }, rpctypes.ErrFutureRev},
	} {
		t.Run(test.name, func(t *testing.T) {
			if err := test.call(); !errors.Is(err, test.want) {
				t.Errorf("got %v, want %v", err, test.want)
			}
		})
	}
	if r, err := c.Get(ctx, "\x00", clientv3.WithFromKey()); err != nil || r.Count != 0 || r.Header.Revision != 1 {
		t.Errorf("after refusals: %v, %v", r, err)
	}
}
