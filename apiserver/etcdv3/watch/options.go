package watch

import (
	"log/slog"
	"time"

	"k8s.io/utils/clock"
)

// Options are the settings of the service. The zero value is fit for use.
type Options struct {
	Logger *slog.Logger     // nil: nothing is logged
	Clock  clock.WithTicker // nil: the real one
	// ProgressInterval is how often a quiet watch that asked for it is told how far it is; 0 is DefaultProgressInterval, and
	// less than 100 ms is 100 ms.
	ProgressInterval time.Duration
	// FragmentBytes is about how large a response gets where the client takes it in parts; 0: one event each.
	FragmentBytes int
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.ProgressInterval == 0 {
		o.ProgressInterval = DefaultProgressInterval
	}
	o.ProgressInterval = max(o.ProgressInterval, minProgressInterval)
	return o
}
