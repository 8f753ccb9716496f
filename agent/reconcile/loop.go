// Package reconcile runs what brings a part of the machine in step with the cluster: after each change, and again, ever
// more slowly, while it fails.
package reconcile

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"

	"github.com/ctlplane/ctlplane/supervise"
)

const (
	firstRetry   = time.Second
	longestRetry = time.Minute
)

// Config is what a Loop needs.
type Config struct {
	// Name is the loop's in metrics and logs.
	Name string
	// Sync brings the machine in step. It is called by one goroutine.
	Sync func(ctx context.Context) error
	// Settle is how long changes are gathered before Sync is called.
	Settle time.Duration
	// Resync is how long after a success Sync is called though nothing changed; 0 for never.
	Resync time.Duration
	Clock  clock.Clock // nil for the real one
	Logger *slog.Logger
}

// Loop calls Sync as changes are marked. It is safe for concurrent use, and a prometheus.Collector.
//
//  1. After each Mark a Sync begins that sees what was marked; many marks may share one.
//  2. A Sync that fails, or panics, is followed by another, without a Mark: after a second, then twice as long each time, a minute at
//     the most. A Mark does not shorten that wait: what fails is not tried as fast as the cluster changes.
//  3. A failure is logged when it begins or changes, and its end: not each try.
type Loop struct {
	cfg     Config
	changed chan struct{} // holds one token while there are changes that no Sync has seen
	syncs   *prometheus.CounterVec
}

// New makes a loop; Run starts it.
func New(cfg Config) *Loop {
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	return &Loop{
		cfg: cfg, changed: make(chan struct{}, 1),
		syncs: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name:        "ctlplane_agent_reconcile_total",
			Help:        "How often a part of the machine was brought in step with the cluster, by how that ended.",
			ConstLabels: prometheus.Labels{"part": cfg.Name},
		}, []string{"result"}),
	}
}

// Mark says that something changed; it never blocks.
func (l *Loop) Mark() {
	select {
	case l.changed <- struct{}{}:
	default:
	}
}

// Run works until ctx ends.
func (l *Loop) Run(ctx context.Context) {
	told, wait := "", time.Duration(0)
	for {
		if !l.next(ctx, wait > 0) || !l.pause(ctx, max(l.cfg.Settle, wait)) {
			return
		}
		l.clear()
		err := supervise.Call(l.cfg.Name, l.cfg.Logger, func() error { return l.cfg.Sync(ctx) })
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			l.syncs.WithLabelValues("error").Inc()
			wait = min(max(2*wait, firstRetry), longestRetry)
			if err.Error() != told {
				told = err.Error()
				l.cfg.Logger.Error(l.cfg.Name+" is not in step with the cluster, and is tried again", "error", err)
			}
		default:
			l.syncs.WithLabelValues("success").Inc()
			if told != "" {
				l.cfg.Logger.Info(l.cfg.Name + " is in step with the cluster again")
			}
			told, wait = "", 0
		}
	}
}

// next waits for a change, or until it is time for a Sync without one; false when ctx ended.
func (l *Loop) next(ctx context.Context, failed bool) bool {
	if failed {
		return ctx.Err() == nil
	}
	var resync <-chan time.Time
	if l.cfg.Resync > 0 {
		timer := l.cfg.Clock.NewTimer(l.cfg.Resync)
		defer timer.Stop()
		resync = timer.C()
	}
	select {
	case <-ctx.Done():
		return false
	case <-l.changed:
	case <-resync:
	}
	return true
}

// pause waits, and says whether ctx is still alive.
func (l *Loop) pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := l.cfg.Clock.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C():
		return true
	}
}

// clear forgets the changes that the next Sync sees.
func (l *Loop) clear() {
	select {
	case <-l.changed:
	default:
	}
}

// Describe names the metrics.
func (l *Loop) Describe(ch chan<- *prometheus.Desc) { l.syncs.Describe(ch) }

// Collect counts.
func (l *Loop) Collect(ch chan<- prometheus.Metric) { l.syncs.Collect(ch) }
