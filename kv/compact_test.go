package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"pgregory.net/rapid"

	"github.com/ctlplane/ctlplane/kv/headercache"
	"github.com/ctlplane/ctlplane/kv/layout"
)

func TestCompactErrors(t *testing.T) {
	s := open(t, Options{})
	apply(t, s, put("a", "1"), put("a", "2"), del("a", ""), put("a", "3"))
	for _, c := range []struct {
		rev  int64
		want error
	}{{0, ErrCompacted}, {-1, ErrCompacted}, {6, ErrFutureRevision}, {4, nil}, {4, ErrCompacted}, {3, ErrCompacted}, {5, nil}} {
		if r := apply(t, s, compact(c.rev))[0]; !errors.Is(r.Err, c.want) {
			t.Errorf("compact at %d: %v, want %v", c.rev, r.Err, c.want)
		}
	}
	for rev, want := range map[int64]error{1: ErrCompacted, 4: ErrCompacted, 5: nil, 6: ErrFutureRevision, 0: nil, -1: nil} {
		if _, err := s.Range(testContext(t), &pb.RangeRequest{Key: []byte("a"), Revision: rev}); !errors.Is(err, want) {
			t.Errorf("range at %d: %v, want %v", rev, err, want)
		}
	}
	if s.CompactRevision() != 5 {
		t.Errorf("compacted at %d", s.CompactRevision())
	}
}

// TestCompactionGivesWayToWriters: the pauses are the longer the more is written, but short once a further compaction was
// asked for.
func TestCompactionGivesWayToWriters(t *testing.T) {
	clock := clocktesting.NewFakeClock(time.Unix(0, 0))
	s := open(t, Options{Clock: clock})
	for range 3 {
		apply(t, s, benchCommands(3000, 0, true)...)
	}
	// next goes on to the next pause, and wants the present one to be that long. What is written meanwhile makes the next longer.
	next := func(pause time.Duration, writes int) {
		t.Helper()
		before := s.Metrics().CompactedVersions
		apply(t, s, benchCommands(writes, 0, true)...)
		clock.Step(pause - 1)
		if !clock.HasWaiters() {
			t.Errorf("the pause was shorter than %v", pause)
		}
		clock.Step(1)
		waitFor(t, func() bool { return s.Metrics().CompactedVersions > before && clock.HasWaiters() })
	}
	must[*pb.CompactionResponse](t, s, compact(s.Revision()-1))
	waitFor(t, clock.HasWaiters)
	next(shortestPause, 50)
	next(shortestPause+50*pausePerWrite, 1000)
	next(longestPause, 1000)
	must[*pb.CompactionResponse](t, s, compact(s.Revision()))
	next(longestPause, 1000) // it had begun before
	next(shortestPause, 1000)
}

// TestCompactionIsGradual: it goes on only as its clock does, goes on after a restart, and leaves exactly
// what is needed: whether it sweeps, or walks as there are many keys that have not changed.
func TestCompactionIsGradual(t *testing.T) {
	t.Run("sweep", func(t *testing.T) { testCompactionIsGradual(t, 1) })
	t.Run("walk", func(t *testing.T) { testCompactionIsGradual(t, 50_000) })
}

// openStill opens a store with a number of keys that don't change, and are compacted.
func openStill(t *testing.T, keys int, clock clock.WithTicker) (*Store, vfs.FS) {
	t.Helper()
	fs := vfs.NewMem()
	s := open(t, Options{FS: fs})
	commands := make([]Command, keys)
	for i := range commands {
		commands[i] = put(fmt.Sprintf("\x01still%05d", i), "")
	}
	apply(t, s, commands...)
	must[*pb.CompactionResponse](t, s, compact(s.Revision()))
	if err := errors.Join(s.WaitCompacted(testContext(t), s.Revision()), s.Close()); err != nil {
		t.Fatal(err)
	}
	return open(t, Options{FS: fs, Clock: clock}), fs
}

func testCompactionIsGradual(t *testing.T, still int) {
	clock := clocktesting.NewFakeClock(time.Unix(0, 0))
	s, fs := openStill(t, still, clock)
	const keys = 3000
	for range 3 {
		apply(t, s, benchCommands(keys, 0, true)...)
	}
	// One revision of thousands of changes, which is done in parts.
	apply(t, s, del("/", "0"), put("last", ""))
	last := s.Revision()
	must[*pb.CompactionResponse](t, s, compact(last))
	wantSweep(t, s, last, still == 1)
	for was := uint64(0); was < 4*compactionChunk; {
		waitFor(t, clock.HasWaiters)
		now := s.Metrics().CompactedVersions
		if now-was > 2*compactionChunk {
			t.Errorf("a step removed %d versions", now-was)
		}
		was = now
		clock.Step(shortestPause)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, Options{FS: fs})
	if err := s.WaitCompacted(testContext(t), last); err != nil {
		t.Fatal(err)
	}
	left := map[byte]int{}
	it, err := s.db.NewIter(nil)
	if err != nil {
		t.Fatal(err)
	}
	defer it.Close()
	for ok := it.First(); ok; ok = it.Next() {
		left[it.Key()[0]]++
	}
	if left[layout.SectionVersion] != still+1 || left[layout.SectionHistory] != 1 || left[layout.SectionMeta] != 2 {
		t.Errorf("left: %v", left)
	}
}

// TestNoSweepForALittleOfALongHistory: who keeps much history, and compacts often, would have all of it looked at each time.
func TestNoSweepForALittleOfALongHistory(t *testing.T) {
	s := open(t, Options{})
	for range 50 {
		apply(t, s, benchCommands(20, 0, true)...)
	}
	for target, want := range map[int64]bool{20: false, 215: false, 225: true, 900: true, s.Revision(): true} {
		wantSweep(t, s, target, want)
	}
}

// TestSweepOfFewRevisionsOfManyChanges: how much goes is no matter of how many revisions there are.
func TestSweepOfFewRevisionsOfManyChanges(t *testing.T) {
	s := open(t, Options{})
	for range 10 {
		ops := make([]*pb.RequestOp, 100)
		for i := range ops {
			ops[i] = putOp(fmt.Sprint(i))
		}
		must[*pb.TxnResponse](t, s, Command{Txn: success(ops...)})
	}
	target := s.Revision()
	for i := range 500 {
		apply(t, s, put(fmt.Sprint(i%100), ""))
	}
	wantSweep(t, s, target, true)
}

// TestNoSweepForFewLargeVersions: it would look at all that there is to remove as many versions as can be counted.
func TestNoSweepForFewLargeVersions(t *testing.T) {
	s, _ := openStill(t, 5000, nil)
	for range 50 {
		apply(t, s, put("large", string(make([]byte, 1<<20))))
	}
	wantSweep(t, s, s.Revision(), false)
}

// wantSweep tells whether a compaction at target is to be a sweep.
func wantSweep(t *testing.T, s *Store, target int64, want bool) {
	t.Helper()
	if sweeps, err := s.compact.sweepPays(target); err != nil || sweeps != want {
		t.Errorf("at %d of %d it sweeps: %v, %v", target, s.Revision(), sweeps, err)
	}
}

// TestReadersDuringCompaction: a range is right or refused, whatever is removed meanwhile.
func TestReadersDuringCompaction(t *testing.T) {
	s := open(t, Options{MemTableBytes: 64 << 10})
	done := make(chan struct{})
	go func() {
		defer close(done)
		for i := range 300 {
			apply(t, s, append(benchCommands(20, 0, true), compact(1+int64(i)*20))...)
		}
	}()
	for running := true; running; {
		select {
		case <-done:
			running = false
		default:
		}
		for _, rev := range []int64{0, s.Revision(), s.CompactRevision(), s.CompactRevision() + 20} {
			r, err := s.Range(testContext(t), &pb.RangeRequest{Key: []byte("/"), RangeEnd: []byte("0"), Revision: rev})
			if err != nil && (rev == 0 || !errors.Is(err, ErrCompacted) && !errors.Is(err, ErrFutureRevision)) {
				t.Fatalf("at %d: %v", rev, err)
			}
			if at := max(rev, 1); err == nil && at > 20 && r.Count != 20 {
				t.Fatalf("at %d: %d keys", rev, r.Count)
			}
		}
	}
}

// TestCompactionKeepsDeletedWhatWasPutBetween: a transaction deletes a key, puts it and deletes it again. It stays deleted
// when the store is compacted at that very revision, for readers and for writes at a member that remembers no headers.
func TestCompactionKeepsDeletedWhatWasPutBetween(t *testing.T) {
	s := open(t, Options{})
	apply(t, s, put("b", "1"))
	from := delOp("a", "\x00")
	must[*pb.TxnResponse](t, s, Command{Txn: success(from, putOp("b"), from)})
	compactTo := func(revision int64) {
		t.Helper()
		must[*pb.CompactionResponse](t, s, compact(revision))
		if err := s.WaitCompacted(testContext(t), revision); err != nil {
			t.Fatal(err)
		}
	}
	compactTo(s.Revision())
	r, err := s.Range(testContext(t), &pb.RangeRequest{Key: []byte("b")})
	if err != nil || len(r.Kvs) != 0 {
		t.Errorf("after the compaction: %v, %v", r, err)
	}
	expect(t, watch(t, s, WatchRequest{Key: []byte("b"), StartRevision: s.Revision()}), "3 DELETE b=; 3 PUT b=v; 3 DELETE b=; ")
	s.apply.headers = headercache.New(s.options.CachedHeaders, s.AppliedIndex())
	again := must[*pb.PutResponse](t, s, Command{Put: &pb.PutRequest{Key: []byte("b"), Value: []byte("3"), PrevKv: true}})
	if again.PrevKv != nil {
		t.Errorf("a write finds %v", again.PrevKv)
	}
	compactTo(s.Revision())
	if left := storedVersions(t, s); left != 1 {
		t.Errorf("%d versions are left, want that of the last put", left)
	}
}

// TestCompactionInPartsKeepsDeleted: the same of a revision so large that it is removed in parts, in each pause between them.
func TestCompactionInPartsKeepsDeleted(t *testing.T) {
	t.Run("sweep", func(t *testing.T) { testCompactionInPartsKeepsDeleted(t, 1) })
	t.Run("walk", func(t *testing.T) { testCompactionInPartsKeepsDeleted(t, 50_000) })
}

func testCompactionInPartsKeepsDeleted(t *testing.T, still int) {
	clock := clocktesting.NewFakeClock(time.Unix(0, 0))
	s, _ := openStill(t, still, clock)
	apply(t, s, put("!first", "1"))
	apply(t, s, benchCommands(3*compactionChunk, 0, true)...)
	from := delOp("!", "\x00")
	must[*pb.TxnResponse](t, s, Command{Txn: success(from, putOp("!first"), from)})
	apply(t, s, put("last", ""))
	// What is compacted first is all before the revision, so that the next step begins with it.
	revision := s.Revision() - 1
	must[*pb.CompactionResponse](t, s, compact(revision-1))
	waitStepping(t, s, clock, revision-1)
	must[*pb.CompactionResponse](t, s, compact(s.Revision()))
	pauses := 0
	waitFor(t, func() bool {
		if clock.HasWaiters() {
			r, err := s.Range(testContext(t), &pb.RangeRequest{Key: []byte("!first"), RangeEnd: []byte("z")})
			if err != nil || r.Count != 1 || string(r.Kvs[0].Key) != "last" {
				t.Fatalf("in pause %d: %v, %v", pauses, r, err)
			}
			pauses++
			clock.Step(longestPause)
		}
		return s.Metrics().CompactedRevision == s.Revision()
	})
	if pauses < 6 {
		t.Errorf("%d pauses: it was not removed in parts", pauses)
	}
	if left := storedVersions(t, s); left != still+1 {
		t.Errorf("%d versions are left", left)
	}
}

// waitStepping lets the compaction's pauses pass until it has come to revision.
func waitStepping(t *testing.T, s *Store, clock *clocktesting.FakeClock, revision int64) {
	t.Helper()
	waitFor(t, func() bool {
		if clock.HasWaiters() {
			clock.Step(longestPause)
		}
		return s.Metrics().CompactedRevision >= revision
	})
}

// storedVersions counts the versions and tombstones in the database.
func storedVersions(t failer, s *Store) (n int) {
	t.Helper()
	if err := layout.EachMeta(s.db, layout.SectionVersion, func(_, _ []byte) error { n++; return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}

// TestSweepLeavesWhatAWalkLeaves: of the same compactions, both leave the same bytes.
func TestSweepLeavesWhatAWalkLeaves(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		walked, swept := openHarness(t), openHarness(t)
		defer func() { walked.close(t); swept.close(t) }()
		for _, h := range []*harness{walked, swept} {
			h.store.compact.stop() // nothing is removed but below
			h.store.compact.ctx = context.Background()
		}
		for range rapid.IntRange(1, 6).Draw(t, "batches") {
			at := len(walked.entries)
			walked.apply(t)
			if rapid.Bool().Draw(t, "churn") {
				walked.applyBatch(t, []Command{{Txn: genChurn(t, genKey(t))}}, []Command{{Compact: &pb.CompactionRequest{Revision: walked.model.rev()}}})
			}
			if _, err := swept.store.Apply(walked.entries[at:]); err != nil {
				t.Fatal(err)
			}
			for walked.store.compact.behind() {
				if err := walked.store.compact.step(walked.store.CompactRevision()); err != nil {
					t.Fatal(err)
				}
			}
			if swept.store.compact.behind() {
				if err := swept.store.compact.sweepTo(swept.store.CompactRevision()); err != nil {
					t.Fatal(err)
				}
			}
			if want, got := contents(t, walked.store), contents(t, swept.store); !bytes.Equal(want, got) {
				t.Fatalf("contents differ:\n%q\n%q", want, got)
			}
		}
	})
}
