package kv

import (
	"errors"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clocktesting "k8s.io/utils/clock/testing"
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
		before := s.Metrics().CompactedRevision
		apply(t, s, benchCommands(writes, 0, true)...)
		clock.Step(pause - 1)
		if !clock.HasWaiters() {
			t.Errorf("the pause was shorter than %v", pause)
		}
		clock.Step(1)
		waitFor(t, func() bool { return s.Metrics().CompactedRevision > before && clock.HasWaiters() })
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
// what is needed.
func TestCompactionIsGradual(t *testing.T) {
	fs := vfs.NewMem()
	clock := clocktesting.NewFakeClock(time.Unix(0, 0))
	s := open(t, Options{FS: fs, Clock: clock})
	const keys = 3000
	for range 3 {
		apply(t, s, benchCommands(keys, 0, true)...)
	}
	// One revision of thousands of changes, which is done in parts.
	apply(t, s, del("\x00", "\x00"), put("last", ""))
	last := s.Revision()
	must[*pb.CompactionResponse](t, s, compact(last))
	waitFor(t, clock.HasWaiters)
	first := s.Metrics().CompactedRevision
	if first < compactionChunk/2 || first > 2*compactionChunk {
		t.Errorf("the first step came to revision %d", first)
	}
	clock.Step(shortestPause)
	waitFor(t, func() bool { return s.Metrics().CompactedRevision > first && clock.HasWaiters() })
	if got := s.Metrics().CompactedRevision; got > 2*first+2 {
		t.Errorf("the second step came to revision %d", got)
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
	if left[sectionVersion] != 1 || left[sectionHistory] != 1 || left[sectionMeta] != 2 {
		t.Errorf("left: %v", left)
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
	s.apply.headers = newHeaderCache(s.options.CachedHeaders, s.AppliedIndex())
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
	clock := clocktesting.NewFakeClock(time.Unix(0, 0))
	s := open(t, Options{Clock: clock})
	apply(t, s, put("!first", "1"))
	apply(t, s, benchCommands(3*compactionChunk, 0, true)...)
	from := delOp("\x00", "\x00")
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
	if left := storedVersions(t, s); left != 1 {
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
func storedVersions(t *testing.T, s *Store) (n int) {
	t.Helper()
	if err := eachMeta(s.db, sectionVersion, func(_, _ []byte) error { n++; return nil }); err != nil {
		t.Fatal(err)
	}
	return n
}
