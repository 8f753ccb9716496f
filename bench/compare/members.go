package main

import (
	"context"
	"fmt"

	"github.com/ctlplane/ctlplane/bench"
)

// The rows of single events, and of what data takes.
var (
	failoverRow = row{name: "leader killed with -9 → next write", unit: millis, less: true, target: 0.5}
	beforeRow   = row{name: "the same, before", unit: millis, less: true}
	afterRow    = row{name: "the same, after", unit: millis, less: true}
	compactRow  = row{name: "time of the compaction", unit: millis, less: true}
)

func restartRow(keys string) row {
	return row{name: "restart with " + keys + " keys → linearizable read", unit: millis, less: true}
}

// duringRow is of the latency of writes while so much history is compacted.
func duringRow(historyMiB int) row {
	return row{name: fmt.Sprintf("put p99 at 5,000/s while %d MiB are compacted", historyMiB), unit: millis, less: true, target: 0.5}
}

// failoverStage kills leaders.
func failoverStage(n size) stage {
	return stage{name: "failover", rounds: 1, measure: func(ctx context.Context, s *subject) error {
		report, err := s.run(ctx, &bench.Failover{Trials: n.failovers}, bench.Options{ValueSize: valueSize})
		if err != nil {
			return err
		}
		s.note(failoverRow, report.Trials...)
		s.table.report(failoverRow.name, s.system, report)
		return nil
	}}
}

// restartStage restarts a member with many keys, and sees what they take.
func restartStage(n size) stage {
	return stage{name: "restart", rounds: 1, measure: func(ctx context.Context, s *subject) error {
		report, err := s.run(ctx, &bench.Restart{Keys: n.keys, Trials: n.restarts}, bench.Options{ValueSize: valueSize})
		if err != nil {
			return err
		}
		keys := count(n.keys)
		r := restartRow(keys)
		r.target = 0.1
		s.note(r, report.Trials...)
		s.table.report(r.name, s.system, report)
		if err := s.noteDisk(row{name: "disk for " + keys + " keys (16 B + 256 B)", unit: megabytes, less: true, target: 0.5}); err != nil {
			return err
		}
		return s.noteMemory(row{name: "memory of the largest member with them", unit: megabytes, less: true})
	}}
}

// count writes a number of keys with commas.
func count(n int) string { return bench.Thousands(float64(n)) }

// noteDisk notes what the data takes where it takes most.
func (s *subject) noteDisk(r row) error { return s.noteMost(r, s.cluster.DiskBytes) }

// noteMemory notes the memory of the member that has most.
func (s *subject) noteMemory(r row) error { return s.noteMost(r, s.cluster.ResidentBytes) }

// noteMost notes the highest of the members' figures, in megabytes: they play different parts, so that those of two
// systems can't be paired.
func (s *subject) noteMost(r row, of func(member int) (int64, error)) error {
	var most int64
	for i := range members {
		bytes, err := of(i)
		if err != nil {
			return err
		}
		most = max(most, bytes)
	}
	s.note(r, float64(most)/1e6)
	return nil
}

// compactionStage compacts a large history under writes at a constant rate.
func compactionStage(n size) stage {
	return stage{name: "compaction", rounds: n.rounds, measure: func(ctx context.Context, s *subject) error {
		return s.compaction(ctx, bench.Options{Duration: n.compaction, ValueSize: valueSize}, n.historyMiB)
	}}
}

func (s *subject) compaction(ctx context.Context, o bench.Options, historyMiB int) error {
	report, err := s.run(ctx, &bench.Compaction{HistoryMiB: historyMiB}, o)
	if err != nil {
		return err
	}
	during := duringRow(historyMiB)
	for _, r := range []struct {
		row    row
		series string
	}{{during, "during"}, {beforeRow, "before"}, {afterRow, "after"}} {
		if l, ok := report.SeriesLatency(r.series); ok {
			s.note(r.row, l.P99)
		}
	}
	s.note(compactRow, report.Figures["compaction_seconds"]*1000)
	s.table.report(during.name, s.system, report)
	return nil
}
