package logging

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// output is what was logged. Lines that were held back come from timers' goroutines.
type output struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.Write(p)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.text.String()
}

func newLogger(out *output) (*slog.Logger, *Limiter) {
	limiter := NewLimiter(slog.NewTextHandler(out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	return slog.New(limiter), limiter
}

// known is how many kinds of lines are told apart.
func known(l *Limiter) int {
	l.shared.mu.Lock()
	defer l.shared.mu.Unlock()
	return len(l.shared.of)
}

func lines(out *output) []string {
	return strings.Split(strings.TrimSuffix(out.String(), "\n"), "\n")
}

// TestALineDoesNotFillTheLog: a loop that spins once wrote 5,000 lines a second.
func TestALineDoesNotFillTheLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out output
		log, _ := newLogger(&out)
		for i := range 60 * 5000 {
			log.Warn("a container can't be stopped", "try", i)
			time.Sleep(time.Second / 5000)
		}
		synctest.Wait()
		if got, want := len(lines(&out)), burst+6; got > want {
			t.Fatalf("a minute of 5,000 lines a second left %d lines, want %d at most", got, want)
		}
		time.Sleep(refill)
		synctest.Wait()
		last := lines(&out)[len(lines(&out))-1]
		if !strings.Contains(last, "try=299999") || !strings.Contains(last, attribute+"=") {
			t.Fatalf("the last line is %q, want the latest with the number of those before it", last)
		}
	})
}

// TestEveryLineIsCounted: what was written and what was left out is all there was.
func TestEveryLineIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out output
		log, _ := newLogger(&out)
		const all = 858
		for range all {
			log.Warn("an event was lost")
		}
		time.Sleep(refill)
		synctest.Wait()
		got := lines(&out)
		if len(got) != burst+1 {
			t.Fatalf("%d lines, want %d at once and one that tells of the rest", len(got), burst)
		}
		if want := fmt.Sprintf("%s=%d", attribute, all-burst-1); !strings.Contains(got[burst], want) {
			t.Fatalf("the last line is %q, want %s in it", got[burst], want)
		}
	})
}

func TestKindsDoNotShareALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out output
		log, _ := newLogger(&out)
		for range burst {
			log.Warn("one")
			log.With("member", "m").WithGroup("g").Warn("two")
			log.Warn("one") // the same message from another place
		}
		synctest.Wait()
		if got := len(lines(&out)); got != 3*burst {
			t.Fatalf("%d lines of %d were written", got, 3*burst)
		}
	})
}

func TestAnAllowanceComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out output
		log, _ := newLogger(&out)
		write := func(n int) {
			for range n {
				log.Info("a node has registered")
			}
		}
		write(burst)
		time.Sleep(3 * refill)
		write(3)
		time.Sleep(burst * refill)
		write(burst)
		synctest.Wait()
		if got, want := len(lines(&out)), burst+3+burst; got != want || strings.Contains(out.String(), attribute) {
			t.Fatalf("%d lines, want %d and none left out", got, want)
		}
	})
}

func TestDebugIsNotLimited(t *testing.T) {
	var out output
	log, _ := newLogger(&out)
	for range 10 * burst {
		log.Debug("a request")
	}
	if got := len(lines(&out)); got != 10*burst {
		t.Fatalf("%d lines of %d were written", got, 10*burst)
	}
}

// TestMessagesOfUnboundedVariety: a message that is made anew each time is no way round the limit.
func TestMessagesOfUnboundedVariety(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out output
		log, limiter := newLogger(&out)
		for i := range 10 * maxKinds {
			log.Warn(fmt.Sprintf("request %d has failed", i))
		}
		if got := len(lines(&out)); got > maxKinds+burst {
			t.Errorf("%d lines were written at once, want %d at most", got, maxKinds+burst)
		}
		if got := known(limiter); got > maxKinds+1 {
			t.Errorf("%d kinds are known, want %d at most", got, maxKinds+1)
		}
		time.Sleep(2 * burst * refill)
		synctest.Wait()
		log.Warn("another one")
		if got := known(limiter); got > 1 {
			t.Errorf("%d kinds are known after all have been idle for long, want 1", got)
		}
	})
}

func TestLinesFromManySides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out output
		log, _ := newLogger(&out)
		var sides sync.WaitGroup
		for range 8 {
			sides.Go(func() {
				for range 1000 {
					log.Error("no quorum")
				}
			})
		}
		sides.Wait()
		time.Sleep(refill)
		synctest.Wait()
		if got := len(lines(&out)); got != burst+1 {
			t.Fatalf("%d lines, want %d", got, burst+1)
		}
	})
}
