package supervise

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

const (
	// A loop that ends is started again after firstPause, then after twice that, up to longestPause.
	firstPause   = time.Second
	longestPause = 30 * time.Second
	// settled is how long a loop has to run to count as well again.
	settled = time.Minute
)

// Loops runs loops that are to last, each for itself.
//
//  1. A loop that ends before its context, by an error, a panic or just so, is started again after a pause that grows while it goes
//     on to end soon. It takes no other loop along.
//  2. Err tells of each loop that is not well: one that waits to be started again, or has not run for settled since.
type Loops struct {
	logger   *slog.Logger
	restarts *prometheus.CounterVec

	mu    sync.Mutex
	loops map[string]*trouble // those that have ended at least once
}

// trouble is what is known of a loop that has ended.
type trouble struct {
	err     error
	count   int       // times in a row that it ended soon
	ended   time.Time // the last time
	again   time.Time // when it is started again, or was
	running bool
}

// NewLoops makes a set without loops. registerer takes its metrics; nil: nobody does.
func NewLoops(logger *slog.Logger, registerer prometheus.Registerer) *Loops {
	l := &Loops{logger: logger, loops: map[string]*trouble{}, restarts: prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ctlplane_loop_restarts_total", Help: "Loops that were started again after they had ended, by name.",
	}, []string{"loop"})}
	if registerer != nil {
		registerer.MustRegister(l.restarts)
	}
	return l
}

// Run runs a loop until ctx ends, again and again if need be. Its name is one of few, and is run once at a time.
func (l *Loops) Run(ctx context.Context, name string, loop func(context.Context) error) {
	defer l.forget(name)
	for pause := firstPause; ; pause = min(2*pause, longestPause) {
		begun := time.Now()
		err := Call(name, l.logger, func() error { return loop(ctx) })
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("it ended without an error")
		}
		soon := time.Since(begun) < settled
		if !soon {
			pause = firstPause
		}
		l.ended(name, err, pause, soon)
		l.logger.Error("a loop ended and will be started again", "loop", name, "err", err, "after", pause)
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return
		}
		l.restarts.WithLabelValues(name).Inc()
		l.started(name)
	}
}

func (l *Loops) ended(name string, err error, pause time.Duration, soon bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.loops[name]
	if t == nil {
		t = &trouble{}
		l.loops[name] = t
	}
	if !soon {
		t.count = 0
	}
	t.count++
	t.err, t.ended, t.running = err, time.Now(), false
	t.again = t.ended.Add(pause)
}

func (l *Loops) started(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.loops[name].running = true
}

func (l *Loops) forget(name string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.loops, name)
}

// Err tells which loops are not well: the last error of each, and when it is started again. Nil: all are.
func (l *Loops) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	var lines []string
	for name, t := range l.loops {
		switch {
		case !t.running:
			lines = append(lines, fmt.Sprintf("%s ended (%d in a row): %v; it is started again at %s", name, t.count, t.err, t.again.UTC().Format(time.RFC3339)))
		case time.Since(t.again) < settled:
			lines = append(lines, fmt.Sprintf("%s ended (%d in a row): %v; it runs again since %s", name, t.count, t.err, t.again.UTC().Format(time.RFC3339)))
		}
	}
	if len(lines) == 0 {
		return nil
	}
	slices.Sort(lines)
	return errors.New(strings.Join(lines, "; "))
}
