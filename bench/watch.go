package bench

import (
	"cmp"
	"context"

	"github.com/spf13/pflag"
)

// Watch measures how many events a second reach watchers.
type Watch struct {
	// Streams is how many watch streams there are, Watchers how many watchers each has; defaults 10 and 100.
	Streams, Watchers int
	// Keys is how many keys are watched, the watchers spread over them; default 1: all watch the same.
	Keys int
	// Ahead is how many puts may be under way that not all watchers have seen; default 64.
	Ahead int
}

// Describe implements Workload.
func (w *Watch) Describe() Description {
	return Description{
		Name: "watch", Unit: "events", Clients: 16, Short: "Measure watch delivery: events a second to many watchers",
		Long: `Many watchers watch the same few keys, and the keys are put as fast as all watchers receive the events. Every event at every
watcher counts. Its latency is the time from the put to its arrival. --total counts puts.`,
	}
}

// Flags implements Workload.
func (w *Watch) Flags(flags *pflag.FlagSet) {
	flags.IntVar(&w.Streams, "streams", 10, "watch streams")
	flags.IntVar(&w.Watchers, "watchers", 100, "watchers a stream")
	flags.IntVar(&w.Keys, "watched-keys", 1, "keys that the watchers are spread over")
	flags.IntVar(&w.Ahead, "ahead", 64, "puts under way that not all watchers have seen yet")
}

// Run implements Workload.
func (w *Watch) Run(ctx context.Context, r *Run) error {
	streams, watchers, keys, ahead := w.Streams, w.Watchers, w.Keys, w.Ahead
	streams = cmp.Or(streams, 10)
	watchers = cmp.Or(watchers, 100)
	keys = cmp.Or(keys, 1)
	ahead = cmp.Or(ahead, 64)
	f, err := newFanout(ctx, r, streams, watchers, keys, ahead)
	if err != nil {
		return err
	}
	defer f.close()
	return f.drive(ctx)
}
