package kv

import (
	"crypto/rand"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"
)

// TestBudget: no more is written than time and what was applied allow, and after a while something may be written.
func TestBudget(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		start := time.Unix(1000, 0)
		now := start
		b := budget{rate: rapid.IntRange(1, 64<<20).Draw(t, "rate"), at: start}
		spent, earned, largest := 0, 0, 0
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			if rapid.Bool().Draw(t, "applied") {
				n := rapid.IntRange(0, 4<<20).Draw(t, "bytes applied")
				b.earn(n)
				earned += n
			}
			now = now.Add(time.Duration(rapid.IntRange(0, 50_000).Draw(t, "µs")) * time.Microsecond)
			n := rapid.IntRange(1, 256<<10).Draw(t, "bytes")
			if b.spend(n, 1, now) {
				spent, largest = spent+n, max(largest, n)
			}
		}
		if allowed := earned + int(now.Sub(start).Seconds()*float64(b.rate)) + largest; spent > allowed {
			t.Fatalf("%d bytes were written, and at most %d allowed", spent, allowed)
		}
		for n := 0; !b.spend(1, 1, now); n++ {
			if now = now.Add(time.Second); n > largest {
				t.Fatalf("nothing may be written after %d s", n)
			}
		}
	})
}

// openPaced opens a store whose background may write next to nothing but what is applied allows.
func openPaced(t *testing.T) *Store {
	s := open(t, Options{MemTableBytes: 64 << 10})
	s.db.pace.flushes.rate, s.db.pace.compactions.rate = 1, 1
	return s
}

// fill applies some megabytes of puts.
func fill(t *testing.T, s *Store) {
	for i := range 40 {
		apply(t, s, benchCommands(500, i*500, true)...)
	}
}

// fillFirstLevel writes so many tables to the disk.
func fillFirstLevel(t *testing.T, s *Store, tables int) {
	for i := range tables {
		apply(t, s, benchCommands(500, i, false)...)
		done, err := s.db.AsyncFlush()
		if err != nil {
			t.Fatal(err)
		}
		<-done
	}
}

// TestFlushesKeepUp with whatever is applied, in whatever pieces: no writer waits for them.
func TestFlushesKeepUp(t *testing.T) {
	s := openPaced(t)
	fill(t, s)
	value := make([]byte, 100<<10)
	rand.Read(value) // and so it isn't compressed
	for range 20 {
		var commands []Command
		for i := range 50 {
			commands = append(commands, put(fmt.Sprint(i), string(value)))
		}
		apply(t, s, commands...)
	}
	if n := s.db.Metrics().Flush.Count; n < 10 {
		t.Errorf("there were %d flushes", n)
	}
}

// TestOpenIsNotPaced: a database that is being opened waits for the compactions that it begins.
func TestOpenIsNotPaced(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, Options{FS: fs, MemTableBytes: 64 << 10})
	s.db.pace.compactions.earn(-1 << 40) // the first level fills up
	fillFirstLevel(t, s, behindFrom-2)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := openDatabase(s.options, func(p *pebble.Options) { p.FS.(pacedFS).pace.compactions.earn(-1 << 40) })
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestWhoWaitsForTheBackgroundIsNotPaced: a flush, a checkpoint, a defragmentation and the end of a store take all there is.
func TestWhoWaitsForTheBackgroundIsNotPaced(t *testing.T) {
	for name, do := range map[string]func(*Store) error{
		"flush":      (*Store).Flush,
		"checkpoint": func(s *Store) error { return s.Checkpoint("copy") },
		"defragment": func(s *Store) error { return s.Defragment(t.Context()) },
		"close":      (*Store).Close,
	} {
		s := openPaced(t)
		fill(t, s)
		for _, b := range []*budget{&s.db.pace.flushes, &s.db.pace.compactions} {
			b.earn(-1 << 40) // no time would be enough
		}
		apply(t, s, put("last", fmt.Sprint(name)))
		if err := do(s); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := s.Close(); err != nil && err != ErrClosed {
			t.Error(err)
		}
	}
}

// TestShortDiskIsNotPaced: what was begun ends, as it takes room until then.
func TestShortDiskIsNotPaced(t *testing.T) {
	var short atomic.Bool
	s := open(t, Options{MemTableBytes: 64 << 10, DiskShort: short.Load})
	s.db.pace.compactions.earn(-1 << 40) // no time would be enough
	sublevels := func() int32 { return s.db.Metrics().Levels[0].Sublevels }
	fillFirstLevel(t, s, behindFrom-2)
	if n := sublevels(); n < behindFrom/2 {
		t.Fatalf("there are %d sublevels: the compactions were not paced", n)
	}
	short.Store(true)
	waitFor(t, func() bool { return sublevels() < behindFrom/2 })
}

// TestCompactionsThatAreBehindAreNotPaced: what readers suffer from is compacted at once.
func TestCompactionsThatAreBehindAreNotPaced(t *testing.T) {
	s := openPaced(t)
	s.db.pace.compactions.earn(-1 << 40)
	fillFirstLevel(t, s, 4*behindFrom)
	waitFor(t, func() bool { return s.db.Metrics().Levels[0].Sublevels < behindFrom })
	if n := s.db.Metrics().Compact.Count; n == 0 {
		t.Error("nothing was compacted")
	}
}
