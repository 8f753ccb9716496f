package reconcile

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// running is a loop whose Sync fails while failure is set.
type running struct {
	*Loop

	mu      sync.Mutex
	failure error
	begun   []time.Duration // of each Sync, since the start
	log     bytes.Buffer
}

func (r *running) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.log.Write(p)
}

func (r *running) fail(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failure = err
}

// seen is when each Sync began, and how many lines were logged.
func (r *running) seen() (begun []time.Duration, lines int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.begun), strings.Count(r.log.String(), "\n")
}

func start(t *testing.T, cfg Config) *running {
	r := &running{}
	begin := time.Now()
	cfg.Name, cfg.Logger = "the test", slog.New(slog.NewTextHandler(r, nil))
	cfg.Sync = func(context.Context) error {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.begun = append(r.begun, time.Since(begin))
		return r.failure
	}
	r.Loop = New(cfg)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return r
}

func pass(d time.Duration) {
	time.Sleep(d) // the bubble's time, not the machine's
	synctest.Wait()
}

// TestFailureIsTriedAgainByItself lets a Sync fail for ten minutes in which nothing changes.
func TestFailureIsTriedAgainByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Config{})
		r.fail(errors.New("no way"))
		r.Mark()
		pass(10 * time.Minute)
		begun, lines := r.seen()
		if n := len(begun); n < 12 || n > 20 {
			t.Errorf("%d tries in ten minutes, at %v: want about one a minute, the first ones sooner", n, begun)
		}
		if first := begun[1] - begun[0]; first != firstRetry {
			t.Errorf("the second try came after %v, want %v", first, firstRetry)
		}
		if lines != 1 {
			t.Errorf("%d lines of log, want one", lines)
		}
		for range 1000 { // what fails is not tried as fast as the cluster changes
			r.Mark()
			pass(time.Millisecond)
		}
		if after, _ := r.seen(); len(after) > len(begun)+2 {
			t.Errorf("%d tries for a thousand changes, want no more than without them", len(after)-len(begun))
		}
		r.fail(nil)
		pass(longestRetry)
		begun, lines = r.seen()
		if lines != 2 {
			t.Errorf("%d lines of log, want one more that tells the end", lines)
		}
		pass(time.Hour)
		if after, _ := r.seen(); len(after) != len(begun) {
			t.Errorf("%d more tries after the success", len(after)-len(begun))
		}
	})
}

// TestPanicIsTriedAgainByItself has a Sync panic as others fail.
func TestPanicIsTriedAgainByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tries := 0
		loop := New(Config{Name: "the test", Logger: slog.New(slog.DiscardHandler), Sync: func(context.Context) error {
			if tries++; tries < 3 {
				panic("at the wrong time")
			}
			return nil
		}})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { defer close(done); loop.Run(ctx) }()
		loop.Mark()
		pass(time.Minute)
		if tries != 3 {
			t.Errorf("%d tries, want 3", tries)
		}
		cancel()
		<-done
	})
}

func TestChangesShareOneSync(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Config{Settle: 50 * time.Millisecond})
		for range 100 {
			r.Mark()
			pass(time.Millisecond)
		}
		pass(time.Second)
		begun, _ := r.seen()
		if n := len(begun); n < 2 || n > 4 {
			t.Errorf("%d runs for changes during 100 ms, want one each 50 ms", n)
		}
	})
}

func TestResyncWithoutAChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := start(t, Config{Resync: time.Minute})
		pass(10*time.Minute + time.Second)
		begun, _ := r.seen()
		if n := len(begun); n != 10 {
			t.Errorf("%d runs in ten minutes, want 10", n)
		}
	})
}
