package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/ctlplane/ctlplane/bench"
	"github.com/ctlplane/ctlplane/bench/cluster"
)

// members is how many there are of each system.
const members = 3

// The two systems' names, as package cluster has them.
const (
	theirs = "etcd"
	ours   = "ctlplane"
)

// stage is measurements that are made on one cluster after the other.
type stage struct {
	name    string
	rounds  int
	measure func(ctx context.Context, s *subject) error
}

// subject is one fresh cluster of a stage, and where its figures go.
type subject struct {
	system   string
	cluster  *cluster.Cluster
	round    int
	table    *table
	progress io.Writer
}

// run measures a workload on the subject.
func (s *subject) run(ctx context.Context, w bench.Workload, o bench.Options) (bench.Report, error) {
	o.Endpoints, o.Processes, o.Seed = s.cluster.Endpoints(), s.cluster, uint64(s.round)
	report, err := bench.Measure(ctx, w, o)
	if err == nil {
		err = ctx.Err()
	}
	if err == nil && report.Operations == 0 {
		err = fmt.Errorf("%s: no operation succeeded: %v", report.Workload, report.ErrorTexts)
	}
	return report, err
}

// note takes values up into a row, and says so.
func (s *subject) note(r row, values ...float64) {
	for _, v := range values {
		s.table.add(r, s.system, v)
		fmt.Fprintf(s.progress, "  %-48s %s\n", r.name, r.show(v))
	}
}

// size is how much of everything there is.
type size struct {
	rounds       int           // of the loads and of the compaction
	load         time.Duration // each
	failovers    int
	restarts     int
	keys         int // of the restart
	historyMiB   int
	compaction   time.Duration // the load around it: a sixth before, four sixths during, a sixth after
	largeKeys    int
	largeHistory int
}

var (
	fullSize = size{
		rounds: 3, load: 6 * time.Second, failovers: 5, restarts: 3, keys: 1_000_000,
		historyMiB: 1024, compaction: 90 * time.Second, largeKeys: 10_000_000, largeHistory: 1024,
	}
	quickSize = size{
		rounds: 1, load: 2 * time.Second, failovers: 2, restarts: 2, keys: 100_000,
		historyMiB: 100, compaction: 9 * time.Second, largeKeys: 200_000, largeHistory: 50,
	}
)

// valueSize is that of all values but the large stage's.
const valueSize = 256
