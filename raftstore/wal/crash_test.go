package wal

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
)

// TestTornBatch lets a power failure leave any part of the last batch: what was acknowledged before stays,
// of the batch a beginning at most, and the log goes on from there.
func TestTornBatch(t *testing.T) {
	for _, acknowledged := range []uint64{0, 5} {
		origin := t.TempDir()
		l := mustOpen(t, origin, 8<<10)
		var start int64 = segmentHeaderBytes
		if acknowledged > 0 {
			must(t, l.StoreLogs(entries(1, acknowledged, 1)))
			start = l.segments[0].end
		}
		batch := entries(acknowledged+1, acknowledged+4, 2)
		must(t, l.StoreLogs(batch))
		end := l.segments[0].end
		whole, err := os.ReadFile(segmentFiles(t, origin)[0])
		must(t, err)

		dir := t.TempDir()
		try := func(what string, content []byte) {
			must(t, os.WriteFile(filepath.Join(dir, segmentName(1)), content, 0o600))
			l, err := openUnsynced(dir, 8<<10)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			_, last := bounds(t, l)
			if last < acknowledged || last > acknowledged+4 {
				t.Fatalf("%s: the log ends with %d", what, last)
			}
			want := append(entries(1, acknowledged, 1), batch[:last-acknowledged]...)
			wantEntries(t, l, want)
			more := entries(last+1, last+2, 3)
			must(t, l.StoreLogs(more))
			must(t, l.Close())
			l, err = openUnsynced(dir, 8<<10)
			must(t, err)
			wantEntries(t, l, append(want, more...))
			first, last := bounds(t, l)
			must(t, l.DeleteRange(first, last))
			must(t, l.Close())
		}
		for at := start; at < end; at++ {
			try(fmt.Sprint("cut at ", at), whole[:at])
			torn := bytes.Clone(whole)
			clear(torn[at:])
			try(fmt.Sprint("nothing written from ", at), torn)
			torn = bytes.Clone(whole)
			clear(torn[start:at])
			try(fmt.Sprint("nothing written before ", at), torn)
			torn = bytes.Clone(whole)
			torn[at] ^= 1 << (at % 8)
			try(fmt.Sprint("a bit turned at ", at), torn)
		}
		for i := range 300 {
			torn := bytes.Clone(whole)
			for at := start; at < end; at += 64 {
				if rand.IntN(2) == 0 {
					clear(torn[at:min(at+64, end)])
				}
			}
			try(fmt.Sprint("parts missing, try ", i), torn)
		}
	}
}

// copyLog copies a log's files as a crash at this moment would leave them.
func copyLog(t *testing.T, from, to string) {
	t.Helper()
	files, err := os.ReadDir(from)
	must(t, err)
	for _, file := range files {
		content, err := os.ReadFile(filepath.Join(from, file.Name()))
		must(t, err)
		must(t, os.WriteFile(filepath.Join(to, file.Name()), content, 0o600))
	}
}

// TestCrashAtEverySync stops a run of changes before and after every sync that it makes, and opens what is
// on disk then: nothing is missing that was there before the change and is after it.
func TestCrashAtEverySync(t *testing.T) {
	origin := t.TempDir()
	history := map[uint64]map[uint64]bool{} // the terms that an index has had
	var before, after []*raft.Log           // the log on either side of the change under way
	crashes := 0
	crash := func() {
		crashes++
		dir := t.TempDir()
		copyLog(t, origin, dir)
		l, err := openUnsynced(dir, 1<<10)
		if err != nil {
			t.Fatalf("crash %d: %v", crashes, err)
		}
		defer func() { must(t, l.Close()) }()
		first, last := bounds(t, l)
		var have raft.Log
		for index := first; index <= last && last > 0; index++ {
			must(t, l.GetLog(index, &have))
			if !history[index][have.Term] || !same(&have, entry(index, have.Term)) {
				t.Fatalf("crash %d: entry %d has term %d, and never had", crashes, index, have.Term)
			}
		}
		terms := map[uint64]uint64{}
		for _, log := range before {
			terms[log.Index] = log.Term
		}
		for _, log := range after {
			if terms[log.Index] != log.Term {
				continue
			}
			must(t, l.GetLog(log.Index, &have))
			if have.Term != log.Term {
				t.Fatalf("crash %d: entry %d has term %d, want %d", crashes, log.Index, have.Term, log.Term)
			}
		}
	}
	l, err := open(origin, Options{SegmentBytes: 1 << 10}, func(f *os.File, s syncScope) error {
		crash()
		if err := fsync(f, s); err != nil {
			return err
		}
		crash()
		return nil
	})
	must(t, err)
	defer func() { must(t, l.Close()) }()
	change := func(to []*raft.Log, do func() error) {
		after = to
		must(t, do())
		before = to
		crash()
		wantEntries(t, l, to)
	}
	for term := uint64(1); term <= 40; term++ {
		next := term * 7
		if n := len(before); n > 0 {
			next = before[n-1].Index + 1
		}
		logs := entries(next, next+rand.Uint64N(12), term)
		for _, log := range logs {
			if history[log.Index] == nil {
				history[log.Index] = map[uint64]bool{}
			}
			history[log.Index][term] = true
		}
		change(append(before[:len(before):len(before)], logs...), func() error { return l.StoreLogs(logs) })
		first, last := bounds(t, l)
		keep := rand.IntN(len(before))
		switch {
		case term%13 == 0:
			change(nil, func() error { return l.DeleteRange(first, last) })
		case term%4 == 0 && keep > 0:
			change(before[:keep], func() error { return l.DeleteRange(first+uint64(keep), last) })
		case term%5 == 0 && keep > 0:
			change(before[keep:], func() error { return l.DeleteRange(first, first+uint64(keep)-1) })
		}
	}
	if crashes < 200 {
		t.Errorf("only %d crashes", crashes)
	}
}

// TestFailedSync: once a sync has failed, the log says so, takes nothing more, and still reads what it had.
func TestFailedSync(t *testing.T) {
	broken := errors.New("input/output error")
	for at := 1; ; at++ {
		dir := t.TempDir()
		syncs, fails := 0, false
		var told []error
		onFailed := func(err error) { told = append(told, err) }
		l, err := open(dir, Options{SegmentBytes: 1 << 10, Logger: slog.New(slog.DiscardHandler), OnFailed: onFailed}, func(f *os.File, s syncScope) error {
			if syncs++; fails && syncs == at {
				return broken
			}
			return fsync(f, s)
		})
		must(t, err)
		must(t, l.StoreLogs(entries(1, 20, 1)))
		must(t, l.StoreLogs(entries(21, 22, 1)))
		syncs, fails = 0, true
		changes := []func() error{
			func() error { return l.StoreLogs(entries(23, 40, 1)) }, // fills the segment
			func() error { return l.StoreLogs(entries(41, 42, 1)) }, // begins another
			func() error { return l.DeleteRange(30, 42) },
			func() error { return l.DeleteRange(1, 21) },
		}
		var failed error
		for i, change := range changes {
			err := change()
			if failed == nil && err != nil {
				failed = err
				wantSurvivors(t, l)
			}
			if failed != nil && !errors.Is(err, broken) {
				t.Fatalf("sync %d failed with %v, and change %d answers %v", at, failed, i, err)
			}
		}
		must(t, l.Close())
		if failed == nil && len(told) > 0 || failed != nil && (len(told) != 1 || !errors.Is(told[0], broken)) {
			t.Fatalf("sync %d failed with %v, and told was %v", at, failed, told)
		}
		if failed == nil {
			if at < 6 {
				t.Fatalf("only %d syncs", at)
			}
			return
		}
		l = mustOpen(t, dir, 1<<10)
		wantSurvivors(t, l)
	}
}

// wantSurvivors fails unless the log has the entries that no change was to delete.
func wantSurvivors(t *testing.T, l *Log) {
	t.Helper()
	first, last := bounds(t, l)
	if first > 22 || last < 29 && last != 22 {
		t.Fatalf("the log has entries %d to %d", first, last)
	}
	wantEntries(t, l, entries(first, last, 1))
}
