package wal

import (
	"bytes"
	"errors"
	"fmt"
	"hash/fnv"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
)

// entry makes the entry that a term has at an index: all of it follows from the two.
func entry(index, term uint64) *raft.Log {
	h := fnv.New64a()
	fmt.Fprint(h, index, term)
	random := rand.New(rand.NewPCG(h.Sum64(), 0))
	log := &raft.Log{Index: index, Term: term, Type: raft.LogType(random.IntN(6))}
	if n := random.IntN(200); n > 0 {
		log.Data = make([]byte, n)
		for i := range log.Data {
			log.Data[i] = byte(random.Uint32())
		}
	}
	if random.IntN(4) == 0 {
		log.Extensions = []byte(fmt.Sprint("extension of ", index))
	}
	if random.IntN(2) == 0 {
		log.AppendedAt = time.Unix(int64(random.Uint32()), int64(random.IntN(1e9)))
	}
	return log
}

func entries(first, last, term uint64) []*raft.Log {
	var logs []*raft.Log
	for index := first; index <= last; index++ {
		logs = append(logs, entry(index, term))
	}
	return logs
}

func same(a, b *raft.Log) bool {
	return a.Index == b.Index && a.Term == b.Term && a.Type == b.Type && bytes.Equal(a.Data, b.Data) &&
		bytes.Equal(a.Extensions, b.Extensions) && a.AppendedAt.Equal(b.AppendedAt)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustOpen(t testing.TB, dir string, segmentBytes int64) *Log {
	t.Helper()
	l, err := Open(dir, Options{SegmentBytes: segmentBytes, Logger: slog.New(slog.DiscardHandler)})
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	return l
}

// openUnsynced opens a log whose syncs do nothing, for tests that open very many.
func openUnsynced(dir string, segmentBytes int64) (*Log, error) {
	none := func(*os.File, syncScope) error { return nil }
	return open(dir, Options{SegmentBytes: segmentBytes, Logger: slog.New(slog.DiscardHandler)}, none)
}

func bounds(t testing.TB, l *Log) (first, last uint64) {
	t.Helper()
	first, err := l.FirstIndex()
	must(t, err)
	last, err = l.LastIndex()
	must(t, err)
	return first, last
}

// wantEntries fails unless the log has exactly these entries and, as long as its disk is well,
// nothing after them in its file.
func wantEntries(t testing.TB, l *Log, want []*raft.Log) {
	t.Helper()
	var wantFirst, wantLast uint64
	if len(want) > 0 {
		wantFirst, wantLast = want[0].Index, want[len(want)-1].Index
	}
	if first, last := bounds(t, l); first != wantFirst || last != wantLast {
		t.Fatalf("the log has entries %d to %d, want %d to %d", first, last, wantFirst, wantLast)
	}
	if n := len(l.segments); n > 0 && l.failed == nil {
		if _, dirty, err := l.segments[n-1].findLaterBatch(); err != nil || dirty {
			t.Fatalf("something is left after the last entry, %d (%v)", wantLast, err)
		}
	}
	var have raft.Log
	for _, log := range want {
		must(t, l.GetLog(log.Index, &have))
		if !same(&have, log) {
			t.Fatalf("entry %d is %+v, want %+v", log.Index, have, log)
		}
	}
	for _, index := range []uint64{0, wantFirst - 1, wantLast + 1, wantLast + 1000} {
		if index >= wantFirst && index <= wantLast && index > 0 {
			continue
		}
		if err := l.GetLog(index, &have); !errors.Is(err, raft.ErrLogNotFound) {
			t.Fatalf("entry %d of %d to %d: %v", index, wantFirst, wantLast, err)
		}
	}
}

func segmentFiles(t testing.TB, dir string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*"+segmentSuffix))
	must(t, err)
	return files
}

// TestSuffixTruncationThenReopen: a log store that marked a file finished when the log's new end was cut
// could not be read after a restart. Cut at every entry, in every file.
func TestSuffixTruncationThenReopen(t *testing.T) {
	for from := uint64(1); from <= 41; from++ {
		dir := t.TempDir()
		l := mustOpen(t, dir, 1<<10)
		for index := uint64(1); index <= 40; index += 4 {
			must(t, l.StoreLogs(entries(index, index+3, 1)))
		}
		if len(segmentFiles(t, dir)) < 3 {
			t.Fatal("not enough segments for the test")
		}
		must(t, l.DeleteRange(from, 40))
		must(t, l.Close())
		l = mustOpen(t, dir, 1<<10)
		want := entries(1, from-1, 1)
		wantEntries(t, l, want)
		more := entries(from, from+6, 2)
		must(t, l.StoreLogs(more))
		must(t, l.Close())
		l = mustOpen(t, dir, 1<<10)
		wantEntries(t, l, append(want, more...))
	}
}

// TestDeletedSegmentsAreGone deletes the log's old end entry by entry: a file goes with its last entry.
func TestDeletedSegmentsAreGone(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, 1<<10)
	for index := uint64(1); index <= 40; index += 4 {
		must(t, l.StoreLogs(entries(index, index+3, 1)))
	}
	var last []uint64 // of each segment
	for _, s := range l.segments {
		last = append(last, s.next()-1)
	}
	for index := uint64(1); index < 40; index++ {
		must(t, l.DeleteRange(index, index))
		if index == last[0] {
			last = last[1:]
		}
		if n := len(segmentFiles(t, dir)); n != len(last) || l.Sizes().Segments != n {
			t.Fatalf("there are %d files after entry %d was deleted, want %d", n, index, len(last))
		}
	}
	wantEntries(t, l, entries(40, 40, 1))
}

func TestContinuesElsewhereOnceEmpty(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, 1<<10)
	must(t, l.StoreLogs(entries(1, 30, 1)))
	for _, first := range []uint64{100, 7} {
		have, last := bounds(t, l)
		must(t, l.DeleteRange(have, last))
		wantEntries(t, l, nil)
		if files := segmentFiles(t, dir); len(files) > 0 {
			t.Fatalf("an empty log has files %v", files)
		}
		must(t, l.Close())
		l = mustOpen(t, dir, 1<<10)
		wantEntries(t, l, nil)
		must(t, l.StoreLogs(entries(first, first+20, 2)))
		wantEntries(t, l, entries(first, first+20, 2))
	}
}

func TestRefusals(t *testing.T) {
	l := mustOpen(t, t.TempDir(), 0)
	if err := l.StoreLog(entry(0, 1)); err == nil {
		t.Error("entry 0 was stored")
	}
	must(t, l.StoreLogs(nil))
	must(t, l.StoreLogs(entries(5, 9, 1)))
	for name, logs := range map[string][]*raft.Log{
		"a gap before": entries(11, 12, 1), "an overlap": entries(9, 10, 1), "a gap within": {entry(10, 1), entry(12, 1)},
		"too large": {{Index: 10, Data: make([]byte, maxPayloadBytes+1)}},
	} {
		if err := l.StoreLogs(logs); err == nil {
			t.Errorf("%s was stored", name)
		}
	}
	if err := l.DeleteRange(6, 7); err == nil {
		t.Error("a hole was made")
	}
	must(t, l.DeleteRange(1, 4))
	must(t, l.DeleteRange(10, 20))
	must(t, l.DeleteRange(8, 7))
	wantEntries(t, l, entries(5, 9, 1))
	if _, err := Open(l.dir.Name(), Options{}); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("opened twice: %v", err)
	}
	must(t, l.Close())
	if err := l.StoreLog(entry(10, 1)); !errors.Is(err, ErrClosed) {
		t.Errorf("stored in a closed log: %v", err)
	}
	if err := l.GetLog(5, new(raft.Log)); !errors.Is(err, ErrClosed) {
		t.Errorf("read from a closed log: %v", err)
	}
	must(t, l.Close())
}

func TestRefusesAnotherStoresDirectory(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "00000000000000000001-0000000000000001.wal"), nil, 0o600))
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "no part of a log") {
		t.Fatal(err)
	}
}

// TestLargeBatch stores more than is gathered for one write, and an entry larger than that.
func TestLargeBatch(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, 1<<20)
	var want []*raft.Log
	for index := uint64(1); index <= 20; index++ {
		size := 1 << 20
		if index == 7 {
			size = 3 * writeBytes
		}
		want = append(want, &raft.Log{Index: index, Data: bytes.Repeat([]byte{byte(index)}, size+int(index))})
	}
	must(t, l.StoreLogs(want))
	more := entries(21, 30, 1)
	must(t, l.StoreLogs(more))
	want = append(want, more...)
	wantEntries(t, l, want)
	if sizes := l.Sizes(); sizes.Segments != 2 || sizes.Entries != 30 || sizes.Bytes < 20<<20 {
		t.Errorf("sizes are %+v", sizes)
	}
	must(t, l.Close())
	wantEntries(t, mustOpen(t, dir, 1<<20), want)
}

// TestReadsWhileWriting reads what the log says it has while it grows and is cut at both ends.
func TestReadsWhileWriting(t *testing.T) {
	l := mustOpen(t, t.TempDir(), 4<<10)
	var readers sync.WaitGroup
	done := make(chan struct{})
	for range 4 {
		readers.Go(func() {
			var have raft.Log
			for {
				select {
				case <-done:
					return
				default:
				}
				first, _ := l.FirstIndex()
				last, _ := l.LastIndex()
				if last == 0 {
					continue
				}
				index := first + rand.Uint64N(last-first+1)
				switch err := l.GetLog(index, &have); {
				case errors.Is(err, raft.ErrLogNotFound): // deleted since
				case err != nil:
					t.Error(err)
				case !same(&have, entry(index, have.Term)):
					t.Errorf("entry %d is %+v", index, have)
				}
				l.Sizes()
			}
		})
	}
	next, term := uint64(1), uint64(1)
	for i := range 400 {
		count := rand.Uint64N(20) + 1
		must(t, l.StoreLogs(entries(next, next+count-1, term)))
		next += count
		switch first, _ := bounds(t, l); i % 10 {
		case 3:
			must(t, l.DeleteRange(first, first+(next-first)/2))
		case 7:
			next, term = next-count, term+1
			must(t, l.DeleteRange(next, next+count-1))
		}
	}
	close(done)
	readers.Wait()
}
