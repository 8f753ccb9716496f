package bench

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/spf13/pflag"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// Compaction measures how long writes take while a large history is compacted away.
type Compaction struct {
	// HistoryMiB is how much history there is to compact: keys and values of old versions; default 1024.
	HistoryMiB int
}

const (
	defaultHistoryMiB = 1024
	compactionRate    = 5000
	// edges is into how many parts the run is divided; the first is before the compaction, the last is after it.
	edges = 6
	// compactionPatience is how long the compaction is waited for when the load is over.
	compactionPatience = 15 * time.Minute
)

// phases are those of a run of Compaction; the compaction is asked for at the start of the second, which takes most of the
// time: a percentile of it is what the row of a comparison stands on.
var phases = [...]string{"before", "during", "after"}

// Describe implements Workload.
func (w *Compaction) Describe() Description {
	return Description{
		Name: "compaction", Unit: "writes", Clients: 200, Rate: compactionRate,
		Short: "Measure the latency of writes before, during and after a large compaction",
		Long: `Overwrites the key space until there is --history of old versions, and then writes at a constant rate. After a sixth of
the time it compacts all of that history, and waits until it is removed. The report has three series: before that, during the next
four sixths, and after, the last sixth. compaction_seconds is how long the compaction took. If that is more than four sixths of the
time, it was still going on in the last one.`,
	}
}

// Flags implements Workload.
func (w *Compaction) Flags(flags *pflag.FlagSet) {
	flags.IntVar(&w.HistoryMiB, "history", defaultHistoryMiB, "MiB of old versions to be compacted")
}

// Run implements Workload.
func (w *Compaction) Run(ctx context.Context, r *Run) error {
	history := w.HistoryMiB
	history = cmp.Or(history, defaultHistoryMiB)
	if history < 0 {
		return errors.New("--history can't be negative")
	}
	perVersion := r.KeySpace * (r.KeySize + r.ValueSize)
	versions := 1 + max(1, history<<20/perVersion)
	revision, err := r.Fill(ctx, r.KeySpace, versions)
	if err != nil {
		return err
	}
	series := [len(phases)]*Series{}
	for i, name := range phases {
		series[i] = r.Series(name)
	}
	edge := r.Duration / edges
	compacted := make(chan error, 1)
	patience, giveUp := context.WithCancel(context.WithoutCancel(ctx))
	defer giveUp()
	go func() {
		<-r.begun // the second phase is counted from the load's start
		at := r.Clock.NewTimer(r.WarmUp + edge)
		defer at.Stop()
		select {
		case <-at.C():
			compacted <- r.compact(patience, revision)
		case <-ctx.Done():
			compacted <- nil
		}
	}()
	r.Drive(ctx, func(client int) Operation {
		put := r.putter(client, nil)
		return func(ctx context.Context, due time.Time) (*Series, error) {
			_, err := put(ctx, due)
			return series[phaseAt(due.Sub(r.window.start), r.Duration)], err
		}
	})
	late := r.Clock.NewTimer(compactionPatience)
	defer late.Stop()
	select {
	case err := <-compacted:
		return err
	case <-late.C():
		giveUp()
		<-compacted
		return errors.New("the compaction does not end")
	}
}

// phaseAt is the index of the phase that a moment of a run is in.
func phaseAt(at, duration time.Duration) int {
	switch edge := duration / edges; {
	case at < edge:
		return 0
	case at < duration-edge:
		return 1
	}
	return 2
}

// compact compacts up to revision and waits until that is done to the data too.
func (r *Run) compact(ctx context.Context, revision int64) error {
	began := r.Clock.Now()
	r.Mark("compaction asked for")
	_, err := pb.NewKVClient(r.Conn(0)).Compact(ctx, &pb.CompactionRequest{Revision: revision, Physical: true})
	r.Mark("compacted")
	r.Figure("compaction_seconds", r.Clock.Since(began).Seconds())
	return err
}
