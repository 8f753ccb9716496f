package raftstore

import (
	"errors"
	"io"
	"strconv"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// metrics are the member's figures by name: the sum over all labels, and of a histogram how much it has seen.
func (m *testMember) metrics() map[string]float64 {
	m.cluster.t.Helper()
	registry := prometheus.NewPedanticRegistry()
	if err := registry.Register(m.Metrics()); err != nil {
		m.cluster.t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		m.cluster.t.Fatal(err)
	}
	values := map[string]float64{}
	for _, family := range families {
		values[family.GetName()] = 0
		for _, metric := range family.Metric {
			values[family.GetName()] += metric.GetGauge().GetValue() + metric.GetCounter().GetValue() + float64(metric.GetHistogram().GetSampleCount())
		}
	}
	return values
}

func wantMetrics(t *testing.T, got, want map[string]float64) {
	t.Helper()
	for name, value := range want {
		if shown, ok := got[name]; !ok || shown != value {
			t.Errorf("%s: %v (there: %v), want %v", name, shown, ok, value)
		}
	}
}

func TestStatusAndMetrics(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	leader := c.leader()
	leader.put("key", "value")
	s := leader.Status()
	if s.ID == 0 || s.Leader != s.ID || s.Term == 0 || s.AppliedIndex == 0 || s.CommitIndex < s.AppliedIndex || s.IsLearner || s.Revision != 2 || s.Committed == 0 || s.LeaderChanges == 0 {
		t.Errorf("%+v", s)
	}
	wantMetrics(t, leader.metrics(), map[string]float64{
		"etcd_server_is_leader": 1, "etcd_mvcc_put_total": 1, "etcd_debugging_mvcc_current_revision": 2, "etcd_server_id": 1,
		"etcd_debugging_mvcc_total_put_size_in_bytes": 8, "etcd_debugging_auth_revision": 1, "etcd_network_known_peers": 3,
		"etcd_server_snapshot_apply_in_progress_total": 0,
	})
}

func TestMetricsOfWhatGoesOn(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	m := c.members[0]
	replaced, rewritten := m.instruments.replacingState(), m.instruments.defragmenting()
	wantMetrics(t, m.metrics(), map[string]float64{
		"etcd_server_snapshot_apply_in_progress_total": 1, "etcd_disk_defrag_inflight": 1, "etcd_disk_backend_defrag_duration_seconds": 0,
	})
	replaced()
	rewritten(errors.New("cut off"))
	wantMetrics(t, m.metrics(), map[string]float64{
		"etcd_server_snapshot_apply_in_progress_total": 0, "etcd_disk_defrag_inflight": 0, "etcd_disk_backend_defrag_duration_seconds": 0,
	})
}

func TestMetricsOfUpkeep(t *testing.T) {
	c := newTestCluster(t, 1, func(config *Config) { config.InitialCorruptCheck = true })
	m, ctx := c.members[0], testContext(t)
	names := []string{
		"etcd_debugging_lease_ttl_total", "etcd_debugging_mvcc_db_compaction_total_duration_milliseconds",
		"etcd_debugging_snap_save_total_duration_seconds", "etcd_disk_backend_defrag_duration_seconds",
		"etcd_disk_backend_snapshot_duration_seconds", "etcd_mvcc_hash_duration_seconds", "etcd_mvcc_hash_rev_duration_seconds",
	}
	m.eventually("to have checked its history", func() bool { return m.metrics()["etcd_mvcc_hash_rev_duration_seconds"] == 1 })
	before := m.metrics()
	m.put("key", "value")
	_, granted := m.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: 100})
	_, compacted := m.Compact(ctx, &pb.CompactionRequest{Revision: 2, Physical: true})
	_, hashed := m.Hash(ctx)
	_, hashedKV := m.HashKV(ctx, 0)
	_, refused := m.HashKV(ctx, 99)
	backup, backedUp := m.Backup(ctx, BackupNative)
	for _, err := range []error{granted, compacted, hashed, hashedKV, backedUp, m.Defragment(ctx), m.raft.Snapshot().Error()} {
		if err != nil {
			t.Fatal(err)
		}
	}
	if refused == nil {
		t.Error("a revision of the future was summed up")
	}
	if got := m.metrics()["etcd_disk_backend_snapshot_duration_seconds"]; got != 0 {
		t.Errorf("a snapshot that is not read yet was counted: %v", got)
	}
	if _, err := io.Copy(io.Discard, backup); err != nil {
		t.Fatal(err)
	}
	if err := backup.Close(); err != nil {
		t.Fatal(err)
	}
	// Who waits for a compaction may hear of its end before the figures do.
	m.eventually("to count the compaction", func() bool { return m.metrics()["etcd_debugging_mvcc_db_compaction_last"] > 0 })
	after := m.metrics()
	for _, name := range names {
		if n := after[name] - before[name]; n != 1 {
			t.Errorf("%s: %v more, want 1", name, n)
		}
	}
	for _, name := range []string{"etcd_disk_wal_write_bytes_total", "etcd_disk_wal_write_duration_seconds"} {
		if after[name] <= before[name] {
			t.Errorf("%s: %v, before the writes %v", name, after[name], before[name])
		}
	}
	if age := float64(time.Now().Unix()) - after["etcd_debugging_mvcc_db_compaction_last"]; age > 60 {
		t.Errorf("the last compaction was %v s ago", age)
	}
	wantMetrics(t, after, map[string]float64{"etcd_disk_defrag_inflight": 0, "etcd_server_feature_enabled": 1})
}

// TestActivePeers: the leader tells which members it reaches, and a follower that it is called by the leader.
func TestActivePeers(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	leader := c.leader()
	id := func(m *testMember) string { return strconv.FormatUint(m.config.Identity.MemberID, 16) }
	active := func(m *testMember, remote string) (value float64, shown bool) {
		metric, shown := m.series("etcd_network_active_peers")["Local="+id(m)+" Remote="+remote]
		return metric.GetGauge().GetValue(), shown
	}
	var followers []*testMember
	for _, m := range c.members {
		if m == leader {
			continue
		}
		followers = append(followers, m)
		leader.eventually("to reach a follower", func() bool { value, _ := active(leader, id(m)); return value == 1 })
		m.eventually("to be called by the leader", func() bool { value, _ := active(m, id(leader)); return value == 1 })
	}
	if n := len(leader.series("etcd_network_active_peers")); n != 2 {
		t.Errorf("the leader shows %d members, there are two others", n)
	}
	failures := func() float64 {
		return leader.series("etcd_network_peer_sent_failures_total")["To="+id(followers[0])].GetCounter().GetValue()
	}
	gone, before := id(followers[0]), failures()
	followers[0].stop()
	leader.eventually("to miss a member", func() bool { value, shown := active(leader, gone); return shown && value == 0 })
	leader.eventually("to count that it does not answer", func() bool { return failures() > before })
	followers[1].eventually("to be called by the leader alone", func() bool {
		value, _ := active(followers[1], id(leader))
		_, shown := active(followers[1], gone)
		return value == 1 && !shown
	})
}
