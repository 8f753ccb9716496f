package kv

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clocktesting "k8s.io/utils/clock/testing"
	"pgregory.net/rapid"
)

func hashAt(t testing.TB, s *Store, revision int64) Hash {
	t.Helper()
	h, err := s.HashKV(context.Background(), revision)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func openFor(t *rapid.T, o Options) *Store {
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestHashRefusesRevisionsThatCannotBeRead(t *testing.T) {
	s := open(t, Options{})
	apply(t, s, put("a", "1"), put("a", "2"), put("a", "3"), compact(3))
	for revision, want := range map[int64]error{1: ErrCompacted, 2: ErrCompacted, 3: nil, 4: nil, 5: ErrFutureRevision} {
		if _, err := s.HashKV(context.Background(), revision); !errors.Is(err, want) {
			t.Errorf("revision %d: %v, want %v", revision, err, want)
		}
	}
	if h := hashAt(t, s, 0); h.Revision != 4 || h.CompactRevision != 3 || h.Current != 4 {
		t.Errorf("%+v", h)
	}
	if hashAt(t, s, 3) == hashAt(t, s, 4) {
		t.Error("a later revision has the same hash")
	}
}

// TestHashIgnoresTheCompactionsProgress compares stores that were given the same, of which one has not begun to remove what
// was compacted, and one is done with it.
func TestHashIgnoresTheCompactionsProgress(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		small := Options{Dir: "kv", FS: vfs.NewMem(), MemTableBytes: 1 << 20, CacheBytes: 1 << 20}
		done := openFor(rt, small)
		defer done.Close()
		small.FS, small.Clock = vfs.NewMem(), clocktesting.NewFakeClock(time.Unix(0, 0)) // which nobody moves
		idle := openFor(rt, small)
		defer idle.Close()
		var commands []Command
		for range rapid.IntRange(1, 30).Draw(rt, "commands") {
			key := rapid.SampledFrom([]string{"a", "b", "c", "d"}).Draw(rt, "key")
			switch rapid.SampledFrom([]string{"put", "put", "delete", "txn"}).Draw(rt, "kind") {
			case "put":
				commands = append(commands, put(key, rapid.SampledFrom([]string{"1", "2"}).Draw(rt, "value")))
			case "delete":
				commands = append(commands, del(key, ""))
			default: // a put and a delete in one revision, in either order
				first := rapid.Bool().Draw(rt, "delete first")
				from := delOp(key, "\x00")
				if ops := []*pb.RequestOp{from, putOp(key)}; first {
					commands = append(commands, Command{Txn: success(ops...)})
				} else {
					commands = append(commands, Command{Txn: success(ops[1], ops[0])})
				}
			}
		}
		apply(t, idle, commands...)
		apply(t, done, commands...)
		for range 2 {
			revision := rapid.Int64Range(1, done.Revision()).Draw(rt, "compacted")
			if revision <= done.CompactRevision() {
				continue
			}
			apply(t, idle, compact(revision))
			apply(t, done, compact(revision))
			if err := done.WaitCompacted(context.Background(), revision); err != nil {
				rt.Fatal(err)
			}
			upto := rapid.Int64Range(revision, done.Revision()).Draw(rt, "hashed")
			if a, b := hashAt(t, idle, upto), hashAt(t, done, upto); a != b {
				rt.Fatalf("before the removal %+v, after it %+v", a, b)
			}
			a, err := idle.HashHistory(context.Background(), upto)
			b, err2 := done.HashHistory(context.Background(), upto)
			if a != b || err != nil || err2 != nil {
				rt.Fatalf("the history: before the removal %+v, after it %+v: %v, %v", a, b, err, err2)
			}
		}
	})
}

// TestHashKVStaysWhatItWas: the sum of a revision is the same before and after a compaction to it or below, one that leaves
// nothing included.
func TestHashKVStaysWhatItWas(t *testing.T) {
	s := open(t, Options{})
	apply(t, s, put("a", "1"), put("b", "1"), put("a", "2"), del("b", ""), del("a", ""), put("a", "3"), del("a", ""))
	last := s.Revision()
	sums := map[int64]uint32{}
	for revision := int64(1); revision <= last; revision++ {
		sums[revision] = hashAt(t, s, revision).Sum
		if sums[revision] == 0 {
			t.Errorf("the sum of revision %d is 0", revision)
		}
	}
	if sums[1] != sums[6] || sums[2] == sums[4] || sums[2] == sums[3] {
		t.Errorf("sums by revision: %v", sums)
	}
	for compacted := int64(2); compacted <= last; compacted++ {
		must[*pb.CompactionResponse](t, s, compact(compacted))
		if err := s.WaitCompacted(testContext(t), compacted); err != nil {
			t.Fatal(err)
		}
		for revision := compacted; revision <= last; revision++ {
			if h := hashAt(t, s, revision); h.Sum != sums[revision] || h.CompactRevision != compacted {
				t.Errorf("of revision %d, compacted at %d: %+v, want the sum %d", revision, compacted, h, sums[revision])
			}
		}
	}
}

func TestHashOfAllSeesLeases(t *testing.T) {
	s := open(t, Options{})
	hash := func() uint32 {
		h, err := s.Hash(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		return h.Sum
	}
	before := hash()
	must[*pb.LeaseGrantResponse](t, s, Command{LeaseGrant: &pb.LeaseGrantRequest{ID: 1, TTL: 10}})
	if hash() == before || hashAt(t, s, 0).Sum != hashAt(t, open(t, Options{}), 0).Sum {
		t.Error("a lease is in the wrong hash")
	}
}

func TestDefragmentKeepsEverything(t *testing.T) {
	s := open(t, Options{})
	for i := range 500 {
		apply(t, s, put(fmt.Sprint("k", i%50), fmt.Sprint("v", i)))
	}
	before := hashAt(t, s, 0)
	if err := s.Defragment(context.Background()); err != nil {
		t.Fatal(err)
	}
	if after := hashAt(t, s, 0); after != before {
		t.Errorf("%+v, before %+v", after, before)
	}
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := s.Defragment(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("by one who has left: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.Defragment(context.Background()); !errors.Is(err, ErrClosed) {
		t.Errorf("of a closed store: %v", err)
	}
}

// TestDowngradeIsRemembered over a restart.
func TestDowngradeIsRemembered(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, Options{FS: fs})
	announce := func(action pb.DowngradeRequest_DowngradeAction) error {
		return apply(t, s, Command{Downgrade: &pb.DowngradeRequest{Action: action, Version: "3.6.0"}})[0].Err
	}
	if err := announce(pb.DowngradeRequest_CANCEL); !errors.Is(err, ErrNoDowngrade) {
		t.Errorf("taken back before it was announced: %v", err)
	}
	if err := announce(pb.DowngradeRequest_ENABLE); err != nil {
		t.Fatal(err)
	}
	if err := announce(pb.DowngradeRequest_ENABLE); !errors.Is(err, ErrDowngradeInProcess) {
		t.Errorf("announced twice: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, Options{FS: fs})
	if got := s.DowngradeTarget(); got != "3.6.0" {
		t.Errorf("after a restart: %q", got)
	}
	if err := announce(pb.DowngradeRequest_CANCEL); err != nil || s.DowngradeTarget() != "" {
		t.Errorf("taken back: %v, %q", err, s.DowngradeTarget())
	}
}

// TestTxnPutsWhatItDeleted: a delete without an upper bound may come before a put of a key that it deletes.
func TestTxnPutsWhatItDeleted(t *testing.T) {
	s := open(t, Options{})
	apply(t, s, put("a", "1"), put("b", "1"))
	from := delOp("a", "\x00")
	must[*pb.TxnResponse](t, s, Command{Txn: success(from, putOp("a"))})
	r, err := s.Range(context.Background(), &pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte{0}})
	if err != nil || len(r.Kvs) != 1 || r.Kvs[0].CreateRevision != 4 || r.Kvs[0].Version != 1 {
		t.Fatalf("after delete and put: %v, %v", r, err)
	}
	must[*pb.TxnResponse](t, s, Command{Txn: success(from, putOp("a"), from)})
	r, err = s.Range(context.Background(), &pb.RangeRequest{Key: []byte("a"), RangeEnd: []byte{0}})
	if err != nil || len(r.Kvs) != 0 {
		t.Errorf("after delete, put and delete: %v, %v", r, err)
	}
}

// TestCompactionKeepsTheDead: what a transaction put and deleted, at the very revision that is compacted to, stays deleted.
func TestCompactionKeepsTheDead(t *testing.T) {
	s := open(t, Options{})
	must[*pb.TxnResponse](t, s, Command{Txn: success(putOp("a"), delOp("a", "\x00"))})
	apply(t, s, put("b", ""), compact(2))
	if err := s.WaitCompacted(context.Background(), 2); err != nil {
		t.Fatal(err)
	}
	for revision := int64(2); revision <= 3; revision++ {
		r, err := s.Range(context.Background(), &pb.RangeRequest{Key: []byte("a"), Revision: revision})
		if err != nil || len(r.Kvs) != 0 {
			t.Errorf("at revision %d: %v, %v", revision, r, err)
		}
	}
}
