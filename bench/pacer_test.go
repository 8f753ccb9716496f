package bench

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"k8s.io/utils/clock"
	testclock "k8s.io/utils/clock/testing"
)

// leapingClock is a fake clock that leaps to when a timer is due as soon as somebody waits for it: with one client a run is
// a simulation that takes no time and has one outcome.
type leapingClock struct{ *testclock.FakeClock }

func (c leapingClock) NewTimer(d time.Duration) clock.Timer {
	t := c.FakeClock.NewTimer(d)
	c.Step(d)
	return t
}

// simulate drives one client at a rate of operations that take as long as take says.
func simulate(o Options, take func(n int) (time.Duration, error)) *Run {
	c := leapingClock{testclock.NewFakeClock(time.Unix(1000, 0))}
	o.Clock = c
	r := &Run{Options: o, main: newSeries("operations"), errors: map[string]int64{}, begun: make(chan struct{})}
	r.begin()
	n := 0
	r.loop(context.Background(), 0, func(context.Context, time.Time) (*Series, error) {
		took, err := take(n)
		n++
		c.Step(took)
		return nil, err
	})
	r.main.drain()
	return r
}

// TestStallShowsInAllThatItKeptFromStarting is what constant rates are for: a server that hangs for a second, under a
// client that waits for it, makes one operation slow in a closed loop, but ten that were due meanwhile at 10/s.
func TestStallShowsInAllThatItKeptFromStarting(t *testing.T) {
	stall := func(n int) (time.Duration, error) {
		if n == 20 {
			return time.Second, nil
		}
		return time.Millisecond, nil
	}
	r := simulate(Options{Rate: 10, Duration: 10 * time.Second}, stall)
	if n := r.main.total.TotalCount(); n != 100 {
		t.Fatalf("%d operations counted, want all 100 that were due", n)
	}
	slow := 0
	for _, bar := range r.main.total.Distribution() {
		if bar.From >= int64(50*time.Millisecond) {
			slow += int(bar.Count)
		}
	}
	// Due at 0, 100, … 900 ms of the stall, answered behind it: 1000, 901, 802, … 109 ms.
	if slow != 10 {
		t.Errorf("%d operations were slow, want 10", slow)
	}
	if got := time.Duration(r.main.total.Max()).Round(time.Millisecond); got != time.Second {
		t.Errorf("the slowest took %s", got)
	}
	closed := simulate(Options{Duration: 10 * time.Second}, stall)
	if got := time.Duration(closed.main.total.ValueAtQuantile(99)); got > 2*time.Millisecond {
		t.Errorf("in a closed loop p99 is %s", got)
	}
}

func TestLateOperationsCountPastTheEnd(t *testing.T) {
	// Every operation takes twice as long as there is between two: at the end half of what was due has not started.
	r := simulate(Options{Rate: 10, Duration: time.Second}, func(int) (time.Duration, error) { return 200 * time.Millisecond, nil })
	if n := r.main.total.TotalCount(); n != 10 {
		t.Errorf("%d operations counted, want all 10 that were due", n)
	}
	if got := time.Duration(r.main.total.Max()).Round(10 * time.Millisecond); got != 1100*time.Millisecond {
		t.Errorf("the last was answered %s after it was due, want 1.1s", got)
	}
}

func TestOperationsAreDueAtEvenSpaces(t *testing.T) {
	c := leapingClock{testclock.NewFakeClock(time.Unix(0, 0))}
	o := Options{Rate: 4, Duration: time.Second, Clock: c}
	p := newPacer(o, newWindow(o, c.Now()), c.Now())
	var due []time.Duration
	for at, ok := p.next(t.Context()); ok; at, ok = p.next(t.Context()) {
		if c.Now().Before(at) {
			t.Errorf("started at %s, before it was due", c.Now())
		}
		due = append(due, at.Sub(time.Unix(0, 0)))
	}
	want := []time.Duration{0, 250 * time.Millisecond, 500 * time.Millisecond, 750 * time.Millisecond}
	if !slices.Equal(due, want) {
		t.Errorf("due at %v, want %v", due, want)
	}
}

func TestWarmUpDoesNotCount(t *testing.T) {
	refused := errors.New("refused")
	r := simulate(Options{Rate: 10, WarmUp: time.Second, Duration: time.Second}, func(n int) (time.Duration, error) {
		if n < 10 || n == 15 {
			return 0, refused
		}
		return 0, nil
	})
	if n := r.main.total.TotalCount(); n != 9 || r.failed != 1 || r.errors["refused"] != 1 {
		t.Errorf("%d counted, %d failed: %v", n, r.failed, r.errors)
	}
}

func TestTotalIsExact(t *testing.T) {
	o := Options{Total: 3}
	w := newWindow(o, time.Unix(0, 0))
	for i, want := range []bool{true, true, true, false, false} {
		if w.take() != want {
			t.Errorf("operation %d taken: %v", i, !want)
		}
		w.finishIfFull()
		if w.running() != (i < 2) {
			t.Errorf("running after operation %d: %v", i, w.running())
		}
	}
}
