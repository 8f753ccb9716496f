package kv

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// TestBudget: no more is written than time and what was applied allow, and who waits as told may write.
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
			largest = max(largest, n)
			for wait := b.spend(n, now); wait > 0; wait = b.spend(n, now) {
				if wait > time.Second { // more is not saved up at once
					wait = time.Second
				}
				now = now.Add(wait + time.Microsecond)
			}
			spent += n
		}
		if allowed := earned + int(now.Sub(start).Seconds()*float64(b.rate)) + largest; spent > allowed {
			t.Fatalf("%d bytes were written, and at most %d allowed", spent, allowed)
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

// TestFlushesKeepUp with whatever is applied: no writer waits for them.
func TestFlushesKeepUp(t *testing.T) {
	s := openPaced(t)
	fill(t, s)
	if n := s.db.Metrics().Flush.Count; n < 10 {
		t.Errorf("there were %d flushes", n)
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

// TestCompactionsThatAreBehindAreNotPaced: what readers suffer from is compacted at once.
func TestCompactionsThatAreBehindAreNotPaced(t *testing.T) {
	s := openPaced(t)
	s.db.pace.compactions.earn(-1 << 40)
	for i := range 4 * behindFrom {
		apply(t, s, benchCommands(500, i, false)...)
		if done, err := s.db.AsyncFlush(); err != nil {
			t.Fatal(err)
		} else {
			<-done
		}
	}
	waitFor(t, func() bool { return s.db.Metrics().Levels[0].Sublevels < behindFrom })
	if n := s.db.Metrics().Compact.Count; n == 0 {
		t.Error("nothing was compacted")
	}
}
