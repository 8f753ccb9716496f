package kv

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/ctlplane/ctlplane/kv/headercache"
	"github.com/ctlplane/ctlplane/kv/layout"
)

// harness runs a store beside the model.
type harness struct {
	fs      *vfs.MemFS
	store   *Store
	model   *model
	entries []Entry // all of them: the Raft log
	results [][]Result
}

func openHarness(t *rapid.T) *harness {
	h := &harness{fs: vfs.NewCrashableMem(), model: newModel()}
	h.open(t)
	return h
}

func (h *harness) open(t *rapid.T) {
	s, err := Open(Options{Dir: "db", FS: h.fs, MemTableBytes: 64 << 10, CachedHeaders: 8, WatchTailBytes: 4 << 10})
	if err != nil {
		t.Fatal(err)
	}
	h.store = s
}

// forgetHeaders makes the next writes look at the database for what they replace, as after a restart.
func (h *harness) forgetHeaders() {
	s := h.store
	s.apply.Lock()
	defer s.apply.Unlock()
	s.apply.headers = headercache.New(s.options.CachedHeaders, s.AppliedIndex())
}

func (h *harness) close(t *rapid.T) {
	if err := h.store.Close(); err != nil {
		t.Fatal(err)
	}
}

// crash loses everything that the store hasn't written to the disk, and replays the log.
func (h *harness) crash(t *rapid.T) {
	flushed := h.store.FlushedIndex()
	left := h.fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(1, 2))})
	h.close(t)
	h.fs = left
	h.open(t)
	if got := h.store.AppliedIndex(); got < flushed {
		t.Fatalf("after a crash the store is at %d, but said that %d was on the disk", got, flushed)
	}
	// Where a replay begins is up to Raft: what was applied is skipped.
	from := rapid.IntRange(0, int(h.store.AppliedIndex())).Draw(t, "replay from")
	at := h.store.AppliedIndex()
	again, err := h.store.Apply(h.entries[from:])
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range again {
		index := h.entries[from+i].Index
		if index <= at {
			if r != nil {
				t.Fatalf("entry %d was applied again, the store was at %d", index, at)
			}
			continue
		}
		compareResults(t, h.entries[from+i], r, h.results[from+i])
	}
}

func (h *harness) apply(t *rapid.T) {
	var batch [][]Command
	for range rapid.IntRange(1, 3).Draw(t, "entries") {
		entry := make([]Command, 0, 5)
		for range rapid.IntRange(0, 5).Draw(t, "commands") {
			entry = append(entry, genCommand(t, h.model.rev()))
		}
		batch = append(batch, entry)
	}
	h.applyBatch(t, batch...)
}

// applyChurn deletes and puts one key in one revision, compacts at that very revision, and looks at what is left.
func (h *harness) applyChurn(t *rapid.T) {
	key := genKey(t)
	if rapid.Bool().Draw(t, "exists") {
		h.applyBatch(t, []Command{{Put: &pb.PutRequest{Key: key, Value: genValue(t)}}})
	}
	h.applyBatch(t, []Command{{Txn: genChurn(t, key)}})
	h.applyBatch(t, []Command{{Compact: &pb.CompactionRequest{Revision: h.model.rev()}}})
	h.compacted(t)
	if rapid.Bool().Draw(t, "cold") {
		h.forgetHeaders()
	}
}

// compacted waits until all that the compaction made superfluous is removed.
func (h *harness) compacted(t *rapid.T) {
	if err := h.store.WaitCompacted(context.Background(), h.store.CompactRevision()); err != nil {
		t.Fatal(err)
	}
	h.check(t)
}

// applyBatch applies the valid ones of commands, of which each list is an entry, and compares their results.
func (h *harness) applyBatch(t *rapid.T, commands ...[]Command) {
	var batch []Entry
	for _, list := range commands {
		e := Entry{Index: uint64(len(h.entries)) + 1, Term: 1}
		var want []Result
		for _, c := range list {
			if c.Validate() == nil {
				e.Commands = append(e.Commands, c)
				m, err := h.model.apply(c)
				want = append(want, Result{Response: m, Err: err})
			}
		}
		batch = append(batch, e)
		h.entries = append(h.entries, e)
		h.results = append(h.results, want)
	}
	results, err := h.store.Apply(batch)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range batch {
		compareResults(t, e, results[i], h.results[len(h.results)-len(batch)+i])
	}
}

func compareResults(t *rapid.T, e Entry, got, want []Result) {
	if len(got) != len(want) {
		t.Fatalf("%d results, want %d", len(got), len(want))
	}
	for i := range got {
		if !errors.Is(got[i].Err, want[i].Err) || (want[i].Err == nil && !proto.Equal(got[i].Response, want[i].Response)) {
			t.Fatalf("%s\n got %v, %v\nwant %v, %v", printable(e.Commands[i]), got[i].Response, got[i].Err, want[i].Response, want[i].Err)
		}
	}
}

// query compares the answer to a random range.
func (h *harness) query(t *rapid.T) {
	h.compareRange(t, genRange(t, h.model.rev()))
}

func (h *harness) compareRange(t *rapid.T, r *pb.RangeRequest) {
	got, err := h.store.Range(context.Background(), r)
	want, wantErr := h.model.rangeNow(r)
	if !errors.Is(err, wantErr) || (wantErr == nil && !proto.Equal(got, want)) {
		t.Fatalf("%v\n got %v, %v\nwant %v, %v", r, got, err, want, wantErr)
	}
}

func (h *harness) queryTxn(t *rapid.T) {
	rev := h.model.rev()
	txn := &pb.TxnRequest{Compare: []*pb.Compare{genCompare(t, rev)}}
	for range rapid.IntRange(0, 3).Draw(t, "ops") {
		op := &pb.RequestOp{Request: &pb.RequestOp_RequestRange{RequestRange: genRange(t, rev)}}
		txn.Success, txn.Failure = append(txn.Success, op), append(txn.Failure, op)
	}
	got, err := h.store.ReadTxn(context.Background(), txn)
	want, wantErr := h.model.apply(Command{Txn: txn})
	if !errors.Is(err, wantErr) || (wantErr == nil && !proto.Equal(got, want)) {
		t.Fatalf("%v\n got %v, %v\nwant %v, %v", txn, got, err, want, wantErr)
	}
}

// check compares everything, at every revision.
func (h *harness) check(t *rapid.T) {
	m := h.model
	if h.store.Revision() != m.rev() || h.store.CompactRevision() != m.compact {
		t.Fatalf("revision %d compacted at %d, want %d at %d", h.store.Revision(), h.store.CompactRevision(), m.rev(), m.compact)
	}
	for rev := max(m.compact, 1); rev <= m.rev(); rev++ {
		h.compareRange(t, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: rev})
	}
	var size int64
	for _, kv := range m.contents[m.rev()] {
		size += int64(len(kv.Key) + len(kv.Value))
	}
	if got := h.store.Metrics(); got.Keys != int64(len(m.contents[m.rev()])) || got.LiveBytes != size {
		t.Fatalf("%d keys of %d bytes, want %d of %d", got.Keys, got.LiveBytes, len(m.contents[m.rev()]), size)
	}
	stored := size + layout.VersionOverhead*int64(len(m.contents[m.rev()]))
	for _, e := range m.events {
		if e.PrevKv != nil && e.Kv.ModRevision > m.compact {
			stored += int64(len(e.PrevKv.Key)+len(e.PrevKv.Value)) + layout.VersionOverhead
		}
	}
	if got := h.store.StoredBytes(); got != stored {
		t.Fatalf("%d bytes can be read in all, want %d", got, stored)
	}
	for id := int64(1); id <= 3; id++ {
		keys, err := h.store.LeaseKeys(id)
		if err != nil {
			t.Fatal(err)
		}
		var want [][]byte
		for _, kv := range modelRange(m.contents[m.rev()], []byte{0}, []byte{0}) {
			if kv.Lease == id {
				want = append(want, kv.Key)
			}
		}
		if ttl, _ := h.store.LeaseTTL(id); ttl != m.leases[id] || !bytes.Equal(bytes.Join(keys, []byte{1}), bytes.Join(want, []byte{1})) {
			t.Fatalf("lease %d: %d s, %q; want %d s, %q", id, ttl, keys, m.leases[id], want)
		}
	}
}

// checkHistory watches everything from the compaction revision on and compares it with the model's events.
func (h *harness) checkHistory(t *rapid.T) {
	start := max(h.model.compact, 1)
	var want []*mvccpb.Event
	for _, e := range h.model.events {
		if e.Kv.ModRevision >= start {
			want = append(want, e)
		}
	}
	ws := h.store.NewWatchStream()
	defer ws.Close()
	if _, err := ws.Watch(WatchRequest{Key: []byte{0}, RangeEnd: []byte{0}, StartRevision: start}); err != nil {
		t.Fatal(err)
	}
	var got []*mvccpb.Event
	for len(got) < len(want) {
		r, err := ws.Next(context.Background())
		if err != nil || r.CompactRevision != 0 {
			t.Fatal(r, err)
		}
		got = append(got, r.Events...)
	}
	for i := range want {
		bare := &mvccpb.Event{Type: want[i].Type, Kv: want[i].Kv}
		if !proto.Equal(got[i], bare) {
			t.Fatalf("event %d of %d is %v, want %v", i, len(want), got[i], bare)
		}
	}
}

func TestStoreBehavesAsModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		h := openHarness(t)
		defer func() { h.close(t) }()
		t.Repeat(map[string]func(*rapid.T){
			"apply":  h.apply,
			"apply2": h.apply,
			"apply3": h.apply,
			"query":  h.query,
			"read":   h.queryTxn,
			"flush": func(t *rapid.T) {
				if err := h.store.Flush(); err != nil {
					t.Fatal(err)
				}
				if f, a := h.store.FlushedIndex(), h.store.AppliedIndex(); f != a {
					t.Fatalf("flushed up to %d, applied up to %d", f, a)
				}
			},
			"crash": h.crash,
			"restart": func(t *rapid.T) {
				h.close(t)
				h.open(t)
			},
			"churn":     h.applyChurn,
			"compacted": h.compacted,
			"cold":      func(*rapid.T) { h.forgetHeaders() },
		})
		h.check(t)
		h.checkHistory(t)
		// And once more from what is on the disk, with everything superfluous removed.
		contents(t, h.store)
		h.close(t)
		h.open(t)
		h.check(t)
		h.checkHistory(t)
	})
}

// TestMembersAreEqual applies the same entries in different batches to stores with different memory, of
// which one restarts and compacts at other times: their contents are the same bytes.
func TestMembersAreEqual(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := openHarness(t), openHarness(t)
		defer func() { a.close(t); b.close(t) }()
		for range rapid.IntRange(1, 10).Draw(t, "batches") {
			a.apply(t)
		}
		for rest := a.entries; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "batch")
			if _, err := b.store.Apply(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
			if rapid.Bool().Draw(t, "restart") {
				b.close(t)
				b.open(t)
			}
		}
		want, got := contents(t, a.store), contents(t, b.store)
		if !bytes.Equal(want, got) {
			t.Fatalf("contents differ:\n%q\n%q", want, got)
		}
	})
}

// contents returns everything in the database, once it is compacted.
func contents(t *rapid.T, s *Store) []byte {
	if err := s.WaitCompacted(context.Background(), s.CompactRevision()); err != nil {
		t.Fatal(err)
	}
	it, err := s.db.NewIter(&pebble.IterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	var all []byte
	for ok := it.First(); ok; ok = it.Next() {
		all = append(append(all, it.Key()...), it.Value()...)
	}
	return all
}
