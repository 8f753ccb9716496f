package raftstore

import (
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
)

// collector shows a member's figures under the names that etcd's have, so that dashboards made for etcd
// work.
type collector struct{ member *Member }

// Metrics returns the member's figures for Prometheus.
func (m *Member) Metrics() prometheus.Collector { return collector{m} }

type metric struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(*Status) float64
}

func describe(name, help string, kind prometheus.ValueType, value func(*Status) float64) metric {
	return metric{prometheus.NewDesc(name, help, nil, nil), kind, value}
}

func truth(yes bool) float64 {
	if yes {
		return 1
	}
	return 0
}

var serverIDDesc = prometheus.NewDesc("etcd_server_id", "The member's id, as a label; 1.", []string{"server_id"}, nil)

var metrics = []metric{
	describe("etcd_server_has_leader", "Whether a leader is known.", prometheus.GaugeValue,
		func(s *Status) float64 { return truth(s.Leader != 0) }),
	describe("etcd_server_is_leader", "Whether this member leads.", prometheus.GaugeValue,
		func(s *Status) float64 { return truth(s.Leader == s.ID) }),
	describe("etcd_server_is_learner", "Whether this member has no vote.", prometheus.GaugeValue,
		func(s *Status) float64 { return truth(s.IsLearner) }),
	describe("etcd_server_leader_changes_seen_total", "Leaders seen since the start.", prometheus.CounterValue,
		func(s *Status) float64 { return float64(s.LeaderChanges) }),
	describe("etcd_server_proposals_committed_total", "The last index that is known to be committed.", prometheus.GaugeValue,
		func(s *Status) float64 { return float64(s.CommitIndex) }),
	describe("etcd_server_proposals_applied_total", "The last index that is applied.", prometheus.GaugeValue,
		func(s *Status) float64 { return float64(s.AppliedIndex) }),
	describe("etcd_server_proposals_pending", "Commands that wait to be proposed or applied.", prometheus.GaugeValue,
		func(s *Status) float64 { return float64(s.Pending) }),
	describe("etcd_server_proposals_failed_total", "Commands that failed, or whose outcome is not known.", prometheus.CounterValue,
		func(s *Status) float64 { return float64(s.Failed) }),
	describe("etcd_mvcc_db_total_size_in_bytes", "What the state takes on the disk.", prometheus.GaugeValue,
		func(s *Status) float64 { return float64(s.DBSize) }),
	describe("etcd_mvcc_db_total_size_in_use_in_bytes", "What of that is not waiting to be reclaimed.", prometheus.GaugeValue,
		func(s *Status) float64 { return float64(s.DBSizeInUse) }),
	describe("etcd_debugging_mvcc_keys_total", "Living keys.", prometheus.GaugeValue,
		func(s *Status) float64 { return float64(s.Store.Keys) }),
	describe("etcd_debugging_mvcc_current_revision", "The revision of the last change.", prometheus.GaugeValue,
		func(s *Status) float64 { return float64(s.Revision) }),
	describe("etcd_debugging_mvcc_compact_revision", "The lowest revision that can be read.", prometheus.GaugeValue,
		func(s *Status) float64 { return float64(s.Store.CompactRevision) }),
	describe("etcd_debugging_mvcc_watcher_total", "Open watches.", prometheus.GaugeValue,
		func(s *Status) float64 { return float64(s.Store.Watchers) }),
	describe("etcd_debugging_mvcc_slow_watcher_total", "Watches that are catching up.", prometheus.GaugeValue,
		func(s *Status) float64 { return float64(s.Store.SlowWatchers) }),
}

// Describe implements prometheus.Collector.
func (c collector) Describe(descs chan<- *prometheus.Desc) {
	descs <- serverIDDesc
	for _, m := range metrics {
		descs <- m.desc
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	status := c.member.Status()
	out <- prometheus.MustNewConstMetric(serverIDDesc, prometheus.GaugeValue, 1, strconv.FormatUint(status.ID, 16))
	for _, m := range metrics {
		out <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(&status))
	}
}
