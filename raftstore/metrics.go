package raftstore

import (
	"runtime"
	"strconv"
	"strings"

	"github.com/hashicorp/raft"
	"github.com/prometheus/client_golang/prometheus"
	"go.etcd.io/etcd/api/v3/version"

	"github.com/ctlplane/ctlplane/raftstore/membership"
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

// The values of labels.
var (
	serverIDDesc  = prometheus.NewDesc("etcd_server_id", "The member's id, as a label; 1.", []string{"server_id"}, nil)
	versionDesc   = prometheus.NewDesc("etcd_server_version", "The version of etcd whose API this is, as a label; 1.", []string{"server_version"}, nil)
	goVersionDesc = prometheus.NewDesc("etcd_server_go_version", "The version of Go that it was built with, as a label; 1.", []string{"server_go_version"}, nil)
	clusterDesc   = prometheus.NewDesc("etcd_cluster_version", "The version of etcd whose API the cluster has, as a label; 1.", []string{"cluster_version"}, nil)
	peersDesc     = prometheus.NewDesc("etcd_network_known_peers", "The members of the group, this one too, as a label; 1.", []string{"Local", "Remote"}, nil)
	activeDesc    = prometheus.NewDesc("etcd_network_active_peers", "Whether a connection of Raft's with another member is open; 0: the member does not answer its leader, which alone calls all others.", []string{"Local", "Remote"}, nil)
	featureDesc   = prometheus.NewDesc("etcd_server_feature_enabled", "Whether a feature gate of etcd's that has an effect here is on.", []string{"name", "stage"}, nil)
)

func gauge(name, help string, value func(*Status) float64) metric {
	return describe(name, help, prometheus.GaugeValue, value)
}

func counter(name, help string, value func(*Status) float64) metric {
	return describe(name, help, prometheus.CounterValue, value)
}

var metrics = []metric{
	gauge("etcd_server_has_leader", "Whether a leader is known.", func(s *Status) float64 { return truth(s.Leader != 0) }),
	gauge("etcd_server_is_leader", "Whether this member leads.", func(s *Status) float64 { return truth(s.Leader == s.ID) }),
	gauge("etcd_server_is_learner", "Whether this member has no vote.", func(s *Status) float64 { return truth(s.IsLearner) }),
	counter("etcd_server_leader_changes_seen_total", "Leaders seen since the start.", func(s *Status) float64 { return float64(s.LeaderChanges) }),
	gauge("etcd_server_proposals_committed_total", "The last index that is known to be committed.", func(s *Status) float64 { return float64(s.CommitIndex) }),
	gauge("etcd_server_proposals_applied_total", "The last index that is applied.", func(s *Status) float64 { return float64(s.AppliedIndex) }),
	gauge("etcd_server_proposals_pending", "Commands that wait to be proposed or applied.", func(s *Status) float64 { return float64(s.Pending) }),
	counter("etcd_server_proposals_failed_total", "Commands that failed, or whose outcome is not known.", func(s *Status) float64 { return float64(s.Failed) }),

	gauge("etcd_server_quota_backend_bytes", "How many living bytes the store takes; 0: as many as there is room for.", func(s *Status) float64 { return float64(s.Quota) }),
	gauge("etcd_mvcc_db_total_size_in_bytes", "What the state takes on the disk.", func(s *Status) float64 { return float64(s.DBSize) }),
	gauge("etcd_mvcc_db_total_size_in_use_in_bytes", "What of that is not waiting to be reclaimed.", func(s *Status) float64 { return float64(s.DBSizeInUse) }),
	counter("etcd_mvcc_put_total", "Puts since the start, those in transactions too.", func(s *Status) float64 { return float64(s.Store.Puts) }),
	counter("etcd_mvcc_delete_total", "Deletes since the start, those in transactions too.", func(s *Status) float64 { return float64(s.Store.Deletes) }),
	counter("etcd_mvcc_txn_total", "Transactions that write since the start.", func(s *Status) float64 { return float64(s.Store.Txns) }),
	counter("etcd_mvcc_range_total", "Ranges since the start.", func(s *Status) float64 { return float64(s.Store.Ranges) }),

	gauge("etcd_debugging_mvcc_keys_total", "Living keys.", func(s *Status) float64 { return float64(s.Store.Keys) }),
	gauge("etcd_debugging_mvcc_current_revision", "The revision of the last change.", func(s *Status) float64 { return float64(s.Revision) }),
	gauge("etcd_debugging_mvcc_compact_revision", "The lowest revision that can be read.", func(s *Status) float64 { return float64(s.Store.CompactRevision) }),
	counter("etcd_debugging_mvcc_db_compaction_keys_total", "Versions of keys that compactions removed since the start.",
		func(s *Status) float64 { return float64(s.Store.CompactedVersions) }),
	gauge("etcd_debugging_mvcc_total_put_size_in_bytes", "Keys and values of the puts since the start.", func(s *Status) float64 { return float64(s.Store.PutBytes) }),
	gauge("etcd_debugging_auth_revision", "The revision of the users and roles.", func(s *Status) float64 { return float64(s.Store.AuthRevision) }),
	gauge("etcd_debugging_mvcc_watch_stream_total", "Open streams of watches.", func(s *Status) float64 { return float64(s.Store.WatchStreams) }),
	gauge("etcd_debugging_mvcc_watcher_total", "Open watches.", func(s *Status) float64 { return float64(s.Store.Watchers) }),
	gauge("etcd_debugging_mvcc_slow_watcher_total", "Watches that are catching up.", func(s *Status) float64 { return float64(s.Store.SlowWatchers) }),
	gauge("etcd_debugging_mvcc_pending_events_total", "Events that wait to be sent.", func(s *Status) float64 { return float64(s.Store.PendingEvents) }),
	counter("etcd_debugging_mvcc_events_total", "Events that were given to watches as they happened.", func(s *Status) float64 { return float64(s.Store.WatchEvents) }),

	counter("etcd_debugging_lease_granted_total", "Leases granted since the start.", func(s *Status) float64 { return float64(s.Store.LeaseGrants) }),
	counter("etcd_debugging_lease_revoked_total", "Leases that were revoked, or ran out, since the start.", func(s *Status) float64 { return float64(s.Store.LeaseRevokes) }),

	gauge("ctlplane_store_leases", "Leases that live.", func(s *Status) float64 { return float64(s.Store.Leases) }),
	gauge("ctlplane_store_live_bytes", "Living keys and their values.", func(s *Status) float64 { return float64(s.Store.LiveBytes) }),
	gauge("ctlplane_store_stored_bytes", "Versions that can still be read, their history included: what the quota bounds.", func(s *Status) float64 { return float64(s.Store.StoredBytes) }),
	gauge("ctlplane_store_compacted_revision", "How far what compactions have made superfluous is removed.", func(s *Status) float64 { return float64(s.Store.CompactedRevision) }),
	gauge("ctlplane_store_read_amplification", "Tables that a read may have to look into.", func(s *Status) float64 { return float64(s.Store.ReadAmplification) }),
	gauge("ctlplane_store_memtable_bytes", "Changes in memory that the log still keeps.", func(s *Status) float64 { return float64(s.Store.MemTableBytes) }),
	gauge("ctlplane_store_cache_bytes", "The block cache.", func(s *Status) float64 { return float64(s.Store.CacheBytes) }),
}

// Describe implements prometheus.Collector.
func (c collector) Describe(descs chan<- *prometheus.Desc) {
	for _, desc := range []*prometheus.Desc{serverIDDesc, versionDesc, goVersionDesc, clusterDesc, peersDesc, activeDesc, featureDesc} {
		descs <- desc
	}
	for _, m := range metrics {
		descs <- m.desc
	}
	for _, i := range c.member.instruments.collectors() {
		i.Describe(descs)
	}
}

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	status := c.member.Status()
	for desc, label := range map[*prometheus.Desc]string{
		serverIDDesc: strconv.FormatUint(status.ID, 16), versionDesc: version.Version,
		goVersionDesc: runtime.Version(), clusterDesc: clusterVersion(),
	} {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, 1, label)
	}
	for _, server := range c.member.servers() {
		out <- prometheus.MustNewConstMetric(peersDesc, prometheus.GaugeValue, 1,
			strconv.FormatUint(status.ID, 16), strconv.FormatUint(membership.MemberID(server.ID), 16))
	}
	for remote, open := range c.member.activePeers() {
		out <- prometheus.MustNewConstMetric(activeDesc, prometheus.GaugeValue, truth(open),
			strconv.FormatUint(status.ID, 16), string(remote))
	}
	config := &c.member.config
	for name, on := range map[string]bool{
		"InitialCorruptCheck": config.InitialCorruptCheck, "CompactHashCheck": config.CompactCheckInterval > 0,
		"SetMemberLocalAddr": config.CallFrom.IsValid(),
	} {
		out <- prometheus.MustNewConstMetric(featureDesc, prometheus.GaugeValue, truth(on), name, "ALPHA")
	}
	for _, m := range metrics {
		out <- prometheus.MustNewConstMetric(m.desc, m.kind, m.value(&status))
	}
	for _, i := range c.member.instruments.collectors() {
		i.Collect(out)
	}
}

// activePeers are the other members with whom a connection of Raft's is open, as far as it is in use: who leads calls all others
// all the time, so that what it has dialled is open, and who has none at all does not answer it. Anybody else is called. What a
// follower has dialled, to be elected, may be broken without anybody noticing, and followers need no connections with each other.
func (m *Member) activePeers() map[raft.ServerID]bool {
	self, active := membership.ServerID(m.config.Identity.MemberID), map[raft.ServerID]bool{}
	leads := m.leads()
	if leads {
		for _, server := range membership.Without(m.servers(), self) {
			active[server.ID] = false
		}
	}
	for _, conn := range m.stream.OpenConns() {
		if dialled := conn.Dialled != ""; dialled != leads {
			continue
		}
		if id := m.peerOf(conn.Conn, conn.Dialled); id != "" && id != self {
			active[id] = true
		}
	}
	return active
}

// clusterVersion is major.minor of the API's version, as etcd's clusters have it.
func clusterVersion() string {
	parts := strings.SplitN(version.Version, ".", 3)
	return strings.Join(parts[:min(2, len(parts))], ".")
}
