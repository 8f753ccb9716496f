package migrate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// TestMigrateUnderWriters moves an etcd while clients write to it, directly and through the front, watch it and keep leases alive.
func TestMigrateUnderWriters(t *testing.T) {
	from := startEtcd(t, "http")
	old := connect(t, from)
	compacted := fill(t, old)
	want := connect(t, from)

	m := newMember(t, "http")
	m.migrate(source(from))
	front := connect(t, m.url)
	eventually(t, "the front serves", func() bool {
		_, err := front.Get(t.Context(), "a")
		return err == nil
	})
	kept := keepLease(t, front)
	watch := record(t, front)

	through, direct := startWriters(t, front, "front", 8), startWriters(t, old, "direct", 2)
	through.wait(300)
	direct.wait(30)
	// A compaction while it is copied is taken over, too.
	compacted += 10
	if _, err := old.Compact(t.Context(), compacted); err != nil {
		t.Fatal(err)
	}
	m.waitLevel()
	through.wait(300)
	direct.stop()
	moved := m.cutOver()
	if s, err := AskStatus(t.Context(), m.dir); err != nil || s.Phase != Finished || s.Revision != moved.Revision {
		t.Errorf("the status after the move: %+v, %v", s, err)
	}
	if _, err := AskCutOver(t.Context(), m.dir); err == nil || !strings.Contains(err.Error(), "was moved before") {
		t.Errorf("a second move: %v", err)
	}
	through.wait(400)
	through.stop()
	t.Logf("moved at revision %d with %d keys and %d leases; calls were held for %v; the longest stall of a writer was %v, of %d writes",
		moved.Revision, moved.Keys, moved.Leases, moved.Held, through.longest(), through.count.Load())

	now := connect(t, m.url)
	if _, err := want.Put(t.Context(), "late/key", "lost"); err != nil { // nothing else is written there any more
		t.Fatal(err)
	}
	m.waitLogged("LATE WRITE", "late/key")
	got, expected := takePicture(t, now, compacted, moved.Revision), takePicture(t, want, compacted, moved.Revision)
	if !expected.Compacted {
		t.Error("the old etcd did not compact")
	}
	leasesOfWriters := got.Leases // those at etcd since the move, and those here, are not the same ones
	got.Leases, expected.Leases = nil, nil
	if !reflect.DeepEqual(got, expected) {
		t.Errorf("after the move:\n%+v\nwant:\n%+v", got, expected)
	}
	if lease, there := leasesOfWriters[int64(kept)]; !there || lease != `granted 20, keys ["kept"]` {
		t.Errorf("the lease that is kept alive: %q", lease)
	}
	through.check(now)
	direct.check(now)
	watch.check(now)

	// The same again is a restart, which tells of late writes again.
	if err := m.end(); err != nil {
		t.Fatal(err)
	}
	m.logs = &logs{}
	again := newMemberAgain(t, m)
	again.migrate(source(from))
	again.waitReady()
	again.waitLogged("LATE WRITE", "late/key")
	through.check(connect(t, m.url))
}

// newMemberAgain is m with a log of its own.
func newMemberAgain(t *testing.T, m *member) *member {
	again := newMember(t, "http")
	again.dir, again.url = m.dir, m.url
	logger := again.config.Logger
	again.config = m.config
	again.config.Logger = logger
	return again
}

// fill writes what is hard to copy, and returns the revision that is compacted.
func fill(t *testing.T, c *clientv3.Client) int64 {
	t.Helper()
	ctx := t.Context()
	var last int64
	put := func(key, value string, options ...clientv3.OpOption) {
		t.Helper()
		r, err := c.Put(ctx, key, value, options...)
		if err != nil {
			t.Fatal(err)
		}
		last = r.Header.Revision
	}
	put("a", "1")
	everything := &pb.TxnRequest{Success: []*pb.RequestOp{
		{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}}},
		{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("a"), Value: []byte("2")}}},
	}}
	if _, err := pb.NewKVClient(c.ActiveConnection()).Txn(ctx, everything); err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		put(fmt.Sprintf("fill/%03d", i%300), fmt.Sprint("value ", i))
	}
	if _, err := c.Delete(ctx, "fill/00", clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
	put("fill/001", "again")
	// Two changes of one key in one revision: etcd checks siblings' deletions only against what comes after them.
	txn := func(ops ...*pb.RequestOp) {
		t.Helper()
		nested := &pb.TxnRequest{}
		for _, op := range ops {
			nested.Success = append(nested.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestTxn{RequestTxn: &pb.TxnRequest{Success: []*pb.RequestOp{op}}}})
		}
		if _, err := pb.NewKVClient(c.ActiveConnection()).Txn(ctx, nested); err != nil {
			t.Fatal(err)
		}
	}
	putOp := func(key string) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte(key), Value: []byte("v")}}}
	}
	deleteOp := func(key string) *pb.RequestOp {
		return &pb.RequestOp{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte(key)}}}
	}
	txn(putOp("twice"), putOp("beside"), deleteOp("twice"))
	txn(putOp("fill/100"), deleteOp("fill/100"))
	r, err := c.Compact(ctx, last-50)
	if err != nil {
		t.Fatal(r, err)
	}
	return last - 50
}

// keepLease keeps a short lease with a key alive until the test ends.
func keepLease(t *testing.T, c *clientv3.Client) clientv3.LeaseID {
	t.Helper()
	granted, err := c.Grant(t.Context(), 20)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Put(t.Context(), "kept", "alive", clientv3.WithLease(granted.ID)); err != nil {
		t.Fatal(err)
	}
	answers, err := c.KeepAlive(t.Context(), granted.ID)
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for range answers {
		}
	}()
	return granted.ID
}

// writers write with one client, each keys of its own, and note what was acknowledged.
type writers struct {
	t     *testing.T
	count atomic.Int64
	stop  func()

	mu    sync.Mutex
	acked []ackedWrite
	stall time.Duration
}

// ackedWrite is an acknowledged put or deletion.
type ackedWrite struct {
	key, value string // no value: deleted
	revision   int64
	lease      clientv3.LeaseID
}

func startWriters(t *testing.T, c *clientv3.Client, name string, n int) *writers {
	w := &writers{t: t}
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() { w.write(ctx, c, fmt.Sprintf("%s/%d", name, i)) })
	}
	w.stop = func() {
		cancel()
		running.Wait()
	}
	t.Cleanup(w.stop)
	return w
}

func (w *writers) write(ctx context.Context, c *clientv3.Client, prefix string) {
	for i := 0; ctx.Err() == nil; i++ {
		began := time.Now()
		done, err := w.one(c, prefix, i)
		if err != nil {
			w.t.Errorf("%s, write %d: %v", prefix, i, err)
			return
		}
		w.mu.Lock()
		w.acked = append(w.acked, done...)
		w.stall = max(w.stall, time.Since(began))
		w.mu.Unlock()
		w.count.Add(1)
		// About a hundred a second, whatever the machine does beside.
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}

// one makes the i-th write, or several in one.
func (w *writers) one(c *clientv3.Client, prefix string, i int) ([]ackedWrite, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	key, value := fmt.Sprintf("%s/%d", prefix, i%20), fmt.Sprint(i)
	switch i % 7 {
	case 3:
		r, err := c.Delete(ctx, key)
		if err != nil || r.Deleted == 0 {
			return nil, err
		}
		return []ackedWrite{{key: key, revision: r.Header.Revision}}, nil
	case 4:
		also := prefix + "/also"
		r, err := c.Txn(ctx).Then(clientv3.OpPut(key, value), clientv3.OpPut(also, value)).Commit()
		if err != nil {
			return nil, err
		}
		return []ackedWrite{{key: key, value: value, revision: r.Header.Revision}, {key: also, value: value, revision: r.Header.Revision}}, nil
	case 5:
		granted, err := c.Grant(ctx, 3600)
		if err != nil {
			return nil, err
		}
		r, err := c.Put(ctx, key, value, clientv3.WithLease(granted.ID))
		if err != nil {
			return nil, err
		}
		done := []ackedWrite{{key: key, value: value, revision: r.Header.Revision, lease: granted.ID}}
		if i%14 != 5 {
			return done, nil
		}
		revoked, err := c.Revoke(ctx, granted.ID)
		if err != nil {
			return nil, err
		}
		return append(done, ackedWrite{key: key, revision: revoked.Header.Revision}), nil
	}
	r, err := c.Put(ctx, key, value)
	if err != nil {
		return nil, err
	}
	return []ackedWrite{{key: key, value: value, revision: r.Header.Revision}}, nil
}

// wait waits for n more writes.
func (w *writers) wait(n int64) {
	w.t.Helper()
	upto := w.count.Load() + n
	eventually(w.t, fmt.Sprintf("%d writes", n), func() bool { return w.t.Failed() || w.count.Load() >= upto })
}

func (w *writers) longest() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.stall
}

// check looks for every acknowledged write, at its revision.
func (w *writers) check(c *clientv3.Client) {
	w.t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	checked := 0
	for _, a := range w.acked {
		r, err := c.Get(w.t.Context(), a.key, clientv3.WithRev(a.revision))
		if errors.Is(err, rpctypes.ErrCompacted) {
			continue
		}
		if err != nil {
			w.t.Fatal(err)
		}
		checked++
		switch {
		case a.value == "":
			if len(r.Kvs) != 0 {
				w.t.Errorf("%s was deleted at revision %d, and is there: %v", a.key, a.revision, r.Kvs)
			}
		case len(r.Kvs) != 1 || string(r.Kvs[0].Value) != a.value || r.Kvs[0].ModRevision != a.revision || r.Kvs[0].Lease != int64(a.lease):
			w.t.Errorf("%s was %q at revision %d with lease %x, and is %v", a.key, a.value, a.revision, a.lease, r.Kvs)
		}
	}
	if checked < len(w.acked)/2 {
		w.t.Errorf("only %d of %d acknowledged writes could be read", checked, len(w.acked))
	}
}

// recorded are the events that a watch has told.
type recorded struct {
	t     *testing.T
	mu    sync.Mutex
	from  int64 // the first revision
	told  []string
	upto  int64
	ended error
}

// record watches all keys until the test ends.
func record(t *testing.T, c *clientv3.Client) *recorded {
	t.Helper()
	now, err := c.Get(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	r := &recorded{t: t, from: now.Header.Revision + 1}
	watch := c.Watch(t.Context(), "\x00", clientv3.WithFromKey(), clientv3.WithRev(r.from))
	go func() {
		for w := range watch {
			r.mu.Lock()
			r.ended = errors.Join(r.ended, w.Err())
			for _, e := range w.Events {
				r.told, r.upto = append(r.told, event(e)), e.Kv.ModRevision
			}
			r.mu.Unlock()
		}
	}()
	return r
}

func event(e *clientv3.Event) string {
	return fmt.Sprintf("%d %s %q %q", e.Kv.ModRevision, e.Type, e.Kv.Key, e.Kv.Value)
}

// check compares what the watch told, across the move, with the history.
func (r *recorded) check(c *clientv3.Client) {
	r.t.Helper()
	now, err := c.Get(r.t.Context(), "a")
	if err != nil {
		r.t.Fatal(err)
	}
	upto := now.Header.Revision
	eventually(r.t, fmt.Sprintf("the watch is at revision %d", upto), func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.ended != nil || r.upto >= upto
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ended != nil {
		r.t.Fatalf("the watch ended: %v", r.ended)
	}
	history := eventsUpTo(r.t.Context(), r.t, c, r.from, upto)
	for i, e := range history {
		if i >= len(r.told) || r.told[i] != event((*clientv3.Event)(e)) {
			r.t.Fatalf("event %d of %d was told as %q, and is %s", i, len(history), r.told[min(i, len(r.told)-1)], event((*clientv3.Event)(e)))
		}
	}
}

// TestAbortLeavesNothing: a migration that is ended before the step leaves the etcd as it was and no directory, and the
// next one begins anew.
func TestAbortLeavesNothing(t *testing.T) {
	from := startEtcd(t, "http")
	old := connect(t, from)
	compacted := fill(t, old)
	before, err := old.Get(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	want := takePicture(t, old, compacted, before.Header.Revision)
	m := newMember(t, "http")
	m.migrate(source(from))
	m.waitLevel()
	if err := m.end(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(m.dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("something is left in %s: %v", m.dir, err)
	}
	after, err := old.Get(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	if got := takePicture(t, old, compacted, before.Header.Revision); after.Header.Revision != before.Header.Revision || !reflect.DeepEqual(got, want) {
		t.Errorf("the etcd has changed from revision %d to %d", before.Header.Revision, after.Header.Revision)
	}
	again := newMemberAgain(t, m)
	again.migrate(source(from))
	again.waitLevel()
	if moved := again.cutOver(); moved.Revision != before.Header.Revision {
		t.Errorf("moved at revision %d, not %d", moved.Revision, before.Header.Revision)
	}
	if got := takePicture(t, connect(t, m.url), compacted, before.Header.Revision); !reflect.DeepEqual(got, want) {
		t.Errorf("after the move:\n%+v\nwant:\n%+v", got, want)
	}
}
