package raftstore

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv"
)

// corrupt makes the next command of the log one that this member never applies: in its place it has another one.
func (m *testMember) corrupt() {
	t := m.cluster.t
	t.Helper()
	m.eventually("to have all", func() bool { return m.machine.Store().AppliedIndex() == m.cluster.leader().raft.LastIndex() })
	m.stop()
	store, err := kv.Open(kv.Options{Dir: filepath.Join(m.config.DataDir, "kv")})
	if err != nil {
		t.Fatal(err)
	}
	forged := kv.Command{Put: &pb.PutRequest{Key: []byte("key"), Value: []byte("forged")}}
	if _, err := store.Apply([]kv.Entry{{Index: store.AppliedIndex() + 1, Term: store.AppliedTerm(), Commands: []kv.Command{forged}}}); err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	m.cluster.leader().put("key", "value")
}

func TestCorruptMemberIsFound(t *testing.T) {
	c := newTestCluster(t, 3, func(config *Config) { config.CorruptCheckInterval = 50 * time.Millisecond })
	leader, corrupt := c.leader(), c.follower()
	leader.put("key", "before")
	if err := leader.checkCorruption(testContext(t)); err != nil || len(leader.Status().Alarms) != 0 {
		t.Fatalf("while all is well: %v, %v", err, leader.Status().Alarms)
	}
	corrupt.corrupt()
	corrupt.start()
	corrupt.eventually("to catch up", func() bool { return corrupt.Revision() == leader.Revision() })
	leader.eventually("to raise an alarm", func() bool { return len(leader.Status().Alarms) == 1 })
	if alarm := leader.Status().Alarms[0]; alarm.MemberID != corrupt.config.Identity.MemberID || alarm.Alarm != pb.AlarmType_CORRUPT {
		t.Errorf("%v", alarm)
	}
}

// TestCorruptMemberIsFoundAtACompaction: without a check from time to time the members' histories are compared once they are compacted.
func TestCorruptMemberIsFoundAtACompaction(t *testing.T) {
	c := newTestCluster(t, 3, func(config *Config) { config.CompactCheckInterval = 20 * time.Millisecond })
	leader, corrupt := c.leader(), c.follower()
	leader.put("key", "before")
	if _, err := leader.Compact(testContext(t), &pb.CompactionRequest{Revision: 2}); err != nil {
		t.Fatal(err)
	}
	leader.eventually("to compare the histories", func() bool { return leader.metrics()["etcd_mvcc_hash_rev_duration_seconds"] >= 1 })
	if alarms := leader.Status().Alarms; len(alarms) != 0 {
		t.Fatalf("while all is well: %v", alarms)
	}
	corrupt.corrupt()
	corrupt.start()
	corrupt.eventually("to catch up", func() bool { return corrupt.Revision() == leader.Revision() })
	if _, err := c.leader().Compact(testContext(t), &pb.CompactionRequest{Revision: 3}); err != nil {
		t.Fatal(err)
	}
	leader.eventually("to raise an alarm", func() bool { return len(leader.Status().Alarms) == 1 })
	if alarm := leader.Status().Alarms[0]; alarm.MemberID != corrupt.config.Identity.MemberID || alarm.Alarm != pb.AlarmType_CORRUPT {
		t.Errorf("%v", alarm)
	}
}

func TestCorruptMemberDoesNotStart(t *testing.T) {
	c := newTestCluster(t, 3, func(config *Config) { config.InitialCorruptCheck = true })
	corrupt := c.follower()
	corrupt.corrupt()
	corrupt.start()
	select {
	case <-corrupt.Failed():
	case <-testContext(t).Done():
		t.Fatal("it goes on")
	}
	if err := corrupt.Err(); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
	c.leader().put("key", "others go on")
}

func TestDeviants(t *testing.T) {
	answer := func(id string, sum uint32) memberHash { return memberHash{raft.ServerID(id), kv.Hash{Sum: sum}} }
	for name, c := range map[string]struct {
		answers []memberHash
		want    int
		known   bool
	}{
		"alone":                     {[]memberHash{answer("a", 1)}, 0, true},
		"all the same":              {[]memberHash{answer("a", 1), answer("b", 1), answer("c", 1)}, 0, true},
		"one of three":              {[]memberHash{answer("a", 1), answer("b", 2), answer("c", 1)}, 1, true},
		"one of two that answered":  {[]memberHash{answer("a", 1), answer("b", 2)}, 2, false},
		"three that differ":         {[]memberHash{answer("a", 1), answer("b", 2), answer("c", 3)}, 3, false},
		"the one who asks is wrong": {[]memberHash{answer("a", 2), answer("b", 1), answer("c", 1)}, 1, true},
	} {
		ids, known := deviants(c.answers, 3)
		if len(ids) != c.want || known != c.known {
			t.Errorf("%s: %v, %v", name, ids, known)
		}
	}
}
