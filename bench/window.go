package bench

import (
	"sync"
	"sync/atomic"
	"time"
)

// window says which operations of a run count.
//
//  1. In a closed loop an operation counts when it is answered between start and end: one that hangs over either edge
//     would count on one side what was done on the other.
//  2. At a constant rate it counts when it was due between start and end, however late it is answered: leaving late
//     answers out would leave out just the slow ones.
//  3. With a total exactly that many count, and end is zero.
//  4. over is closed once: at the end, or when the total is reached.
type window struct {
	start, end time.Time
	total      int64
	paced      bool

	taken atomic.Int64
	cut   atomic.Bool // the run was ended before its time
	over  chan struct{}
	once  sync.Once
}

func newWindow(o Options, now time.Time) *window {
	w := &window{start: now.Add(o.WarmUp), total: o.Total, paced: o.Rate > 0, over: make(chan struct{})}
	if o.Total == 0 {
		w.end = w.start.Add(o.Duration)
	}
	return w
}

// covers says whether at is a moment that is measured.
func (w *window) covers(at time.Time) bool {
	return !at.Before(w.start) && (w.end.IsZero() || at.Before(w.end))
}

// counts says whether an operation counts that was due and answered then.
func (w *window) counts(due, answered time.Time) bool {
	if w.paced {
		return w.covers(due)
	}
	return w.covers(answered)
}

// take counts one successful operation, and says whether there was still one to be taken. The last one ends the run.
func (w *window) take() bool {
	n := w.taken.Add(1)
	if w.total == 0 {
		return true
	}
	if n > w.total {
		w.taken.Add(-1)
		return false
	}
	return true
}

// finishIfFull ends the run once the total is taken; called after what was taken is recorded.
func (w *window) finishIfFull() {
	if w.total > 0 && w.taken.Load() >= w.total {
		w.finish()
	}
}

// finish ends the run: no client starts another operation.
func (w *window) finish() { w.once.Do(func() { close(w.over) }) }

func (w *window) running() bool {
	select {
	case <-w.over:
		return false
	default:
		return true
	}
}
