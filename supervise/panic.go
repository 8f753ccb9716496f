// Package supervise keeps a fault in one part of a process from being the end of all: a panic is contained where requests and
// loops are run, counted and told, and a loop that ended is started again.
//
// What applies the replicated log is never run under it: a member that panics there must end, for it may have applied half of what
// the others have applied whole.
package supervise

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// panics counts all that were contained in this process.
var panics = prometheus.NewCounterVec(prometheus.CounterOpts{
	Name: "ctlplane_panics_total", Help: "Panics that were contained, by the part of the program in which they happened.",
}, []string{"where"})

// Panics counts the panics that were contained, for a registry of metrics.
func Panics() prometheus.Collector { return panics }

// PanicError is a panic that was contained. Its text is for logs: it may tell what clients must not know.
type PanicError struct {
	Where string
	Value any
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic in %s: %v", e.Where, e.Value) }

// Call runs f, and gives its error, or a *PanicError when it panics. where names the part of the program, as one of few: it is a label
// of a metric.
func Call(where string, logger *slog.Logger, f func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = Caught(where, logger, value)
		}
	}()
	return f()
}

// Do runs f, which may panic.
func Do(where string, logger *slog.Logger, f func()) {
	_ = Call(where, logger, func() error { f(); return nil }) // Caught has told it
}

// Again runs f until it returns; after a panic it is run again, unless ctx has ended. It is for loops that may end by themselves;
// Loops runs those that may not.
func Again(ctx context.Context, where string, logger *slog.Logger, f func()) {
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		begun := time.Now()
		if Call(where, logger, func() error { f(); return nil }) == nil {
			return
		}
		if time.Since(begun) > settled {
			pause = firstPause
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// Caught counts and tells a panic that the caller has recovered from, in the deferred function that did.
func Caught(where string, logger *slog.Logger, value any) error {
	panics.WithLabelValues(where).Inc()
	if logger == nil {
		logger = slog.Default()
	}
	if left, due := told.due(where, time.Now()); due {
		logger.Error("a fault in this program was contained: please report it", "where", where, "panic", fmt.Sprint(value),
			"more_like_it", left, "stack", string(debug.Stack()))
	}
	return &PanicError{Where: where, Value: value}
}

// tellEvery is how often panics in one place are told of: one that comes with each try of a thing would fill the log.
const tellEvery = 10 * time.Second

// told remembers what was told.
var told = tellings{places: map[string]*telling{}}

type tellings struct {
	mu     sync.Mutex
	places map[string]*telling
}

// telling is when a place was last told of, and how many panics have not been told since.
type telling struct {
	last time.Time
	left int
}

// due says whether a panic is to be told, and how many before it were not.
func (t *tellings) due(where string, now time.Time) (left int, due bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	place := t.places[where]
	if place == nil {
		place = &telling{}
		t.places[where] = place
	}
	if !place.last.IsZero() && now.Sub(place.last) < tellEvery {
		place.left++
		return 0, false
	}
	left, place.left, place.last = place.left, 0, now
	return left, true
}
