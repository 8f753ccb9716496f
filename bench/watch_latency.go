package bench

import (
	"cmp"
	"context"

	"github.com/spf13/pflag"
)

// WatchLatency measures how long after a put its event arrives, at a constant rate of puts.
type WatchLatency struct {
	// Streams is how many watch streams there are, Watchers how many watchers each has; default 10 each.
	Streams, Watchers int
	// Keys is how many keys are watched, the watchers spread over them; default 1: all watch the same.
	Keys int
}

const (
	// watchLatencyRate is well below what any cluster takes: latency, not queues, is measured.
	watchLatencyRate = 700
	// watchLatencyAhead is seconds' worth of puts, so that slow watchers are seen and not waited for.
	watchLatencyAhead = 8192
)

// Describe implements Workload.
func (w *WatchLatency) Describe() Description {
	return Description{
		Name: "watch-latency", Unit: "events", Clients: 64, Rate: watchLatencyRate,
		Short: "Measure watch latency: from a put to its event at a watcher",
		Long: `Puts at a constant rate, and measures the time from when each put was due to the arrival of its event at each watcher. The
series "puts" is the latency of the puts themselves. The series "after answer" is the time from the answer of a put to its event
(0 if the event came first).`,
	}
}

// Flags implements Workload.
func (w *WatchLatency) Flags(flags *pflag.FlagSet) {
	flags.IntVar(&w.Streams, "streams", 10, "watch streams")
	flags.IntVar(&w.Watchers, "watchers", 10, "watchers a stream")
	flags.IntVar(&w.Keys, "watched-keys", 1, "keys that the watchers are spread over")
}

// Run implements Workload.
func (w *WatchLatency) Run(ctx context.Context, r *Run) error {
	streams, watchers, keys := w.Streams, w.Watchers, w.Keys
	streams = cmp.Or(streams, 10)
	watchers = cmp.Or(watchers, 10)
	keys = cmp.Or(keys, 1)
	f, err := newFanout(ctx, r, streams, watchers, keys, watchLatencyAhead)
	if err != nil {
		return err
	}
	defer f.close()
	f.afterAnswer = r.Series("after answer")
	return f.drive(ctx)
}
