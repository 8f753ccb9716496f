package raftstore

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/ctlplane/ctlplane/raftstore/membership"
)

// TestHeartbeatIntervalIsKept has heartbeats sent more often than Raft would by itself.
func TestHeartbeatIntervalIsKept(t *testing.T) {
	const timeout, interval, beats = 2 * time.Second, 20 * time.Millisecond, 50
	c := newTestCluster(t, 2, func(config *Config) {
		config.HeartbeatTimeout, config.HeartbeatInterval = timeout, interval
	})
	leader, follower := c.leader(), c.follower()
	sent := func() uint64 {
		var metric dto.Metric
		if err := leader.instruments.roundTrip.WithLabelValues(string(membership.ServerID(follower.Identity().MemberID))).(prometheus.Metric).Write(&metric); err != nil {
			t.Fatal(err)
		}
		return metric.GetHistogram().GetSampleCount()
	}
	before, begun := sent(), time.Now()
	leader.eventually("heartbeats", func() bool { return sent() >= before+beats })
	// Raft alone needs a tenth of the timeout for each.
	if took, alone := time.Since(begun), beats*timeout/10; took >= alone {
		t.Errorf("%d heartbeats took %v: they were not sent every %v", beats, took, interval)
	}
}
