package main

import (
	"context"

	"github.com/ctlplane/ctlplane/bench"
)

// load is one workload, and the rows that it fills.
type load struct {
	workload bench.Workload
	options  bench.Options
	onlyOurs bool // needs ctlplane's write stream
	rows     []rowOf
}

// rowOf is a row and the figure of a report that goes there.
type rowOf struct {
	row row
	of  func(bench.Report) float64
}

func rate(r bench.Report) float64 { return r.Rate }
func p50(r bench.Report) float64  { return r.Latency.P50 }
func p99(r bench.Report) float64  { return r.Latency.P99 }

// afterAnswer is how long after a put's answer its events come: what etcd's own benchmark calls the latency of events.
func afterAnswer(r bench.Report) float64 {
	l, _ := r.SeriesLatency("after answer")
	return l.P99
}

var loads = []load{
	{
		workload: &bench.Writes{}, options: bench.Options{Clients: 1000},
		rows: []rowOf{
			{row{name: "put, 1000 clients", unit: perSecond, target: 1.8}, rate},
			{row{name: "put, 1000 clients, p99", unit: millis, less: true}, p99},
		},
	},
	{
		workload: &bench.Writes{}, options: bench.Options{Clients: 100},
		rows: []rowOf{
			{row{name: "put, 100 clients", unit: perSecond, target: 2}, rate},
			{row{name: "put, 100 clients, p99", unit: millis, less: true}, p99},
		},
	},
	{
		workload: &bench.Writes{}, options: bench.Options{Clients: 1},
		rows: []rowOf{
			{row{name: "put, 1 client, p50", unit: millis, less: true, target: 0.9}, p50},
			{row{name: "put, 1 client", unit: perSecond}, rate},
		},
	},
	{
		workload: &bench.Reads{}, options: bench.Options{Clients: 100, Target: bench.TargetAll, KeySpace: 10_000},
		rows: []rowOf{
			{row{name: "linearizable range, 100 clients, all members", unit: perSecond, target: 1.5}, rate},
			{row{name: "linearizable range, p99", unit: millis, less: true}, p99},
		},
	},
	{
		workload: &bench.Writes{Pipeline: 200}, options: bench.Options{Clients: 10, Connections: 2}, onlyOurs: true,
		rows: []rowOf{{row{name: "pipelined writes, 10 clients × 200 in flight", unit: perSecond, target: 60_000, absolute: true}, rate}},
	},
	{
		workload: &bench.Watch{}, options: bench.Options{},
		rows: []rowOf{{row{name: "watch delivery, 10 streams × 100 watchers", unit: perSecond, target: 2}, rate}},
	},
	{
		workload: &bench.WatchLatency{}, options: bench.Options{},
		rows: []rowOf{
			{row{name: "put to event at 700/s, 10 × 10 watchers, p99", unit: millis, less: true, target: 0.5}, p99},
			{row{name: "the same, p50", unit: millis, less: true}, p50},
			{row{name: "event after the put's answer, p99", unit: millis, less: true}, afterAnswer},
		},
	},
}

// loadsStage is the loads of a few seconds each.
func loadsStage(n size) stage {
	return stage{name: "loads", rounds: n.rounds, measure: func(ctx context.Context, s *subject) error {
		for _, l := range loads {
			for _, r := range l.rows {
				s.table.declare(r.row)
			}
			if l.onlyOurs && s.system != ours {
				continue
			}
			o := l.options
			o.Duration, o.ValueSize = n.load, valueSize
			report, err := s.run(ctx, l.workload, o)
			if err != nil {
				return err
			}
			for _, r := range l.rows {
				s.note(r.row, r.of(report))
			}
			s.table.report(l.rows[0].row.name, s.system, report)
		}
		return nil
	}}
}
