package main

import (
	"context"

	"github.com/ctlplane/ctlplane/bench"
)

var (
	failoverRow = row{name: "leader killed with -9 → next write", unit: millis, less: true, target: 0.5}
	restartRow  = row{name: "restart with 1,000,000 keys → linearizable read", unit: millis, less: true, target: 0.1}
	diskRow     = row{name: "disk for 1,000,000 keys (16 B + 256 B)", unit: megabytes, less: true, target: 0.5}
	memoryRow   = row{name: "memory of a member with them", unit: megabytes, less: true}
	duringRow   = row{name: "put p99 at 5,000/s while 1 GB is compacted", unit: millis, less: true, target: 0.5}
	beforeRow   = row{name: "the same, before", unit: millis, less: true}
	afterRow    = row{name: "the same, after", unit: millis, less: true}
	compactRow  = row{name: "time of the compaction", unit: millis, less: true}
)

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
		s.note(restartRow, report.Trials...)
		s.table.report(restartRow.name, s.system, report)
		return s.noteDisk()
	}}
}

func (s *subject) noteDisk() error {
	for i := range members {
		disk, err := s.cluster.DiskBytes(i)
		if err != nil {
			return err
		}
		s.note(diskRow, float64(disk)/1e6)
	}
	return s.noteMemory(memoryRow)
}

// noteMemory notes the memory of every member.
func (s *subject) noteMemory(r row) error {
	for i := range members {
		memory, err := s.cluster.ResidentBytes(i)
		if err != nil {
			return err
		}
		s.note(r, float64(memory)/1e6)
	}
	return nil
}

// compactionStage compacts a large history under writes at a constant rate.
func compactionStage(n size) stage {
	return stage{name: "compaction", rounds: 1, measure: func(ctx context.Context, s *subject) error {
		return s.compaction(ctx, bench.Options{Duration: n.compaction, ValueSize: valueSize}, n.historyMiB)
	}}
}

func (s *subject) compaction(ctx context.Context, o bench.Options, historyMiB int) error {
	report, err := s.run(ctx, &bench.Compaction{HistoryMiB: historyMiB}, o)
	if err != nil {
		return err
	}
	for _, r := range []struct {
		row    row
		series string
	}{{duringRow, "during"}, {beforeRow, "before"}, {afterRow, "after"}} {
		if l, ok := report.SeriesLatency(r.series); ok {
			s.note(r.row, l.P99)
		}
	}
	s.note(compactRow, report.Figures["compaction_seconds"]*1000)
	s.table.report(duringRow.name, s.system, report)
	return nil
}
