package raftstore

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// upkeepInstruments are those of what happens beside the requests: seldom, but for writes of the log, each of which is a batch
// of entries. Names and buckets are etcd's.
type upkeepInstruments struct {
	walWrite, leaseTTL, compaction, save, receipt, defragment, backup, hash, hashKV prometheus.Histogram
	walBytes, lastCompaction, defragments, replacing                                prometheus.Gauge
	promotions                                                                      prometheus.Counter
}

func newUpkeepInstruments() upkeepInstruments {
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help})
	}
	// buckets are count, each twice the one before.
	histogram := func(name, help string, lowest float64, count int) prometheus.Histogram {
		return prometheus.NewHistogram(prometheus.HistogramOpts{Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(lowest, 2, count)})
	}
	return upkeepInstruments{
		walWrite:       histogram("etcd_disk_wal_write_duration_seconds", "How long the Raft log takes to write a batch of entries, before it is durable.", 0.001, 14),
		walBytes:       gauge("etcd_disk_wal_write_bytes_total", "Bytes of entries that were written to the Raft log."),
		leaseTTL:       histogram("etcd_debugging_lease_ttl_total", "The times to live of the leases that were granted, in seconds.", 1, 24),
		compaction:     histogram("etcd_debugging_mvcc_db_compaction_total_duration_milliseconds", "How long compactions took to remove what they made superfluous.", 100, 14),
		lastCompaction: gauge("etcd_debugging_mvcc_db_compaction_last", "When a compaction was last done with that, in Unix time; 0: not since the start."),
		save:           histogram("etcd_debugging_snap_save_total_duration_seconds", "How long it took to make the state durable, so that the Raft log can be cut.", 0.001, 14),
		receipt:        histogram("etcd_snap_db_save_total_duration_seconds", "How long it took to receive the leader's state and to make it durable.", 0.1, 10),
		replacing:      gauge("etcd_server_snapshot_apply_in_progress_total", "Whether the state is being replaced by the leader's."),
		defragment:     histogram("etcd_disk_backend_defrag_duration_seconds", "How long it took to rewrite the database.", 0.1, 13),
		defragments:    gauge("etcd_disk_defrag_inflight", "How many times the database is being rewritten now."),
		backup:         histogram("etcd_disk_backend_snapshot_duration_seconds", "How long it took to make snapshots for clients, and to send them.", 0.01, 17),
		hash:           histogram("etcd_mvcc_hash_duration_seconds", "How long it took to sum up the whole state.", 0.01, 15),
		hashKV:         histogram("etcd_mvcc_hash_rev_duration_seconds", "How long it took to sum up the history to a revision.", 0.01, 15),
		promotions: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "etcd_server_learner_promote_successes", Help: "Learners that were promoted by request while this member led."}),
	}
}

func (u *upkeepInstruments) collectors() []prometheus.Collector {
	return []prometheus.Collector{
		u.walWrite, u.walBytes, u.leaseTTL, u.compaction, u.lastCompaction, u.save, u.receipt, u.replacing, u.defragment, u.defragments,
		u.backup, u.hash, u.hashKV, u.promotions,
	}
}

// observe adds the time since begun, if it was of use.
func observe(h prometheus.Histogram, begun time.Time, err error) {
	if err == nil {
		h.Observe(time.Since(begun).Seconds())
	}
}

func (i *instruments) wrote(bytes int64, took time.Duration) {
	if i != nil {
		i.upkeep.walBytes.Add(float64(bytes))
		i.upkeep.walWrite.Observe(took.Seconds())
	}
}

func (i *instruments) leaseGranted(ttl int64) {
	if i != nil {
		i.upkeep.leaseTTL.Observe(float64(ttl))
	}
}

func (i *instruments) compacted(took time.Duration) {
	if i != nil {
		i.upkeep.compaction.Observe(float64(took.Milliseconds()))
		i.upkeep.lastCompaction.SetToCurrentTime()
	}
}

func (i *instruments) saved(took time.Duration) {
	if i != nil {
		i.upkeep.save.Observe(took.Seconds())
	}
}

func (i *instruments) stateReceived(took time.Duration) {
	if i != nil {
		i.upkeep.receipt.Observe(took.Seconds())
	}
}

// replacingState returns what to call when that is done.
func (i *instruments) replacingState() (done func()) {
	if i == nil {
		return func() {}
	}
	i.upkeep.replacing.Inc()
	return i.upkeep.replacing.Dec
}

// defragmenting returns what to call when that is done.
func (i *instruments) defragmenting() (done func(error)) {
	if i == nil {
		return func(error) {}
	}
	begun := time.Now()
	i.upkeep.defragments.Inc()
	return func(err error) {
		i.upkeep.defragments.Dec()
		observe(i.upkeep.defragment, begun, err)
	}
}

func (i *instruments) backedUp(begun time.Time) {
	if i != nil {
		i.upkeep.backup.Observe(time.Since(begun).Seconds())
	}
}

func (i *instruments) hashed(begun time.Time, err error) {
	if i != nil {
		observe(i.upkeep.hash, begun, err)
	}
}

func (i *instruments) hashedKV(begun time.Time, err error) {
	if i != nil {
		observe(i.upkeep.hashKV, begun, err)
	}
}

func (i *instruments) promoted() {
	if i != nil {
		i.upkeep.promotions.Inc()
	}
}
