package bench

import (
	"context"
	"sync/atomic"
	"time"

	"k8s.io/utils/clock"
)

// pacer tells clients when to start their next operation: at once, or at a constant rate.
//
// At a rate, the n-th operation is due n/rate seconds after the first, whatever became of those before it. When all
// clients wait for answers, operations fall behind and are started late, but remain due when they were: a stall of the
// server shows in the latency of all the operations that it kept from starting (no coordinated omission).
type pacer struct {
	clock  clock.Clock
	window *window
	first  time.Time
	rate   float64 // 0: no pacing
	issued atomic.Int64
}

func newPacer(o Options, w *window, now time.Time) *pacer {
	return &pacer{clock: o.Clock, window: w, first: now, rate: o.Rate}
}

// next returns when the caller's next operation was due, once that moment has come; false when the run is over.
func (p *pacer) next(ctx context.Context) (due time.Time, ok bool) {
	end := p.window.end
	if p.rate == 0 {
		now := p.clock.Now()
		return now, p.window.running() && ctx.Err() == nil && (end.IsZero() || now.Before(end))
	}
	n := p.issued.Add(1) - 1
	due = p.first.Add(time.Duration(float64(n) / p.rate * float64(time.Second)))
	if !end.IsZero() && !due.Before(end) {
		return due, false
	}
	if wait := due.Sub(p.clock.Now()); wait > 0 {
		timer := p.clock.NewTimer(wait)
		defer timer.Stop()
		select {
		case <-timer.C():
		case <-p.window.over:
			return due, false
		case <-ctx.Done():
			return due, false
		}
	}
	// What is late at the end is still done: it was due, and counts.
	return due, ctx.Err() == nil && !p.window.cut.Load()
}
