package raftstore

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv"
)

func (m *testMember) alarm(action pb.AlarmRequest_AlarmAction, kind pb.AlarmType, member uint64) []*pb.AlarmMember {
	m.cluster.t.Helper()
	r, err := m.Alarm(testContext(m.cluster.t), &pb.AlarmRequest{Action: action, Alarm: kind, MemberID: member})
	if err != nil {
		m.cluster.t.Fatal(err)
	}
	return r.Alarms
}

// TestQuota: at any member values are refused once the quota is used up, and taken again after a compaction of deletions,
// without anybody's help.
func TestQuota(t *testing.T) {
	c := newTestCluster(t, 3, func(config *Config) { config.QuotaBytes = 1 << 20 })
	leader, follower := c.leader(), c.follower()
	value := []byte(strings.Repeat("v", 10_000))
	var err error
	written := 0
	for ; err == nil; written++ {
		m := c.members[written%3]
		_, err = m.Put(testContext(t), &pb.PutRequest{Key: fmt.Appendf(nil, "key%03d", written), Value: value})
	}
	if !errors.Is(err, kv.ErrNoSpace) || written < 100 || written > 110 {
		t.Fatalf("after %d writes: %v", written, err)
	}
	leader.eventually("to raise the alarm", func() bool { return len(follower.alarm(pb.AlarmRequest_GET, pb.AlarmType_NOSPACE, 0)) == 1 })
	for _, m := range c.members {
		if _, err := m.Put(testContext(t), &pb.PutRequest{Key: []byte("k")}); !errors.Is(err, kv.ErrNoSpace) {
			t.Errorf("a small value at %s: %v", m.config.Identity.Name, err)
		}
		m.wantValue("key000", string(value))
	}
	if _, err := follower.DeleteRange(testContext(t), &pb.DeleteRangeRequest{Key: []byte("key00"), RangeEnd: []byte("key03")}); err != nil {
		t.Fatal(err)
	}
	leader.checkQuota(0)
	if alarms := leader.Status().Alarms; len(alarms) != 1 {
		t.Errorf("what is deleted can still be read, and the alarms are %v", alarms)
	}
	if _, err := follower.Compact(testContext(t), &pb.CompactionRequest{Revision: leader.Status().Store.Revision}); err != nil {
		t.Fatal(err)
	}
	leader.eventually("to take the alarm back", func() bool { return len(leader.Status().Alarms) == 0 })
	follower.put("again", "taken")
}

// TestValueThatDoesNotFitTheQuotaRaisesTheAlarm although a tenth of the quota is free. One that could hardly ever fit doesn't: it is
// turned away alone.
func TestValueThatDoesNotFitTheQuotaRaisesTheAlarm(t *testing.T) {
	const quota = 5 << 10
	c := newTestCluster(t, 1, func(config *Config) { config.QuotaBytes = quota })
	leader := c.leader()
	refuse := func(size int) {
		t.Helper()
		_, err := leader.Put(testContext(t), &pb.PutRequest{Key: []byte("key"), Value: make([]byte, size)})
		if !errors.Is(err, kv.ErrNoSpace) {
			t.Fatalf("%d bytes: %v", size, err)
		}
	}
	refuse(2 * quota)
	for range 4 {
		leader.put("key", strings.Repeat("v", 1000))
	}
	refuse(1000)
	leader.eventually("to raise the alarm", func() bool { return len(leader.Status().Alarms) == 1 })
	if stored := leader.machine.Store().StoredBytes(); stored > quota-quota/10 {
		t.Errorf("%d bytes are stored: too many for this test", stored)
	}
	leader.checkQuota(1000)
	refuse(0)
	leader.alarm(pb.AlarmRequest_DEACTIVATE, pb.AlarmType_NOSPACE, leader.config.Identity.MemberID)
	leader.put("key", "fits")
}

// TestAlarmByHand stays until it is taken back by hand.
func TestAlarmByHand(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	m := c.leader()
	id := m.config.Identity.MemberID
	if raised := m.alarm(pb.AlarmRequest_ACTIVATE, pb.AlarmType_NOSPACE, id); len(raised) != 1 || raised[0].MemberID != id {
		t.Errorf("raised %v", raised)
	}
	m.checkQuota(0)
	m.checkDisk()
	if _, err := m.Put(testContext(t), &pb.PutRequest{Key: []byte("k")}); !errors.Is(err, kv.ErrNoSpace) {
		t.Error(err)
	}
	if back := m.alarm(pb.AlarmRequest_DEACTIVATE, pb.AlarmType_NOSPACE, id); len(back) != 1 {
		t.Errorf("took back %v", back)
	}
	m.put("k", "v")

	m.alarm(pb.AlarmRequest_ACTIVATE, pb.AlarmType_CORRUPT, id)
	for _, serializable := range []bool{false, true} {
		if _, err := m.Range(testContext(t), &pb.RangeRequest{Key: []byte("k"), Serializable: serializable}); !errors.Is(err, kv.ErrCorrupt) {
			t.Error(err)
		}
	}
	if _, err := m.Txn(testContext(t), &pb.TxnRequest{}); !errors.Is(err, kv.ErrCorrupt) {
		t.Error(err)
	}
	if err := m.ReadState(testContext(t)); err != nil {
		t.Errorf("whether the state can be read does not depend on alarms: %v", err)
	}
	if all := m.alarm(pb.AlarmRequest_GET, pb.AlarmType_NONE, 0); len(all) != 1 || all[0].Alarm != pb.AlarmType_CORRUPT {
		t.Errorf("alarms %v", all)
	}
	m.alarm(pb.AlarmRequest_DEACTIVATE, pb.AlarmType_CORRUPT, id)
	m.wantValue("k", "v")
	for _, r := range []*pb.AlarmRequest{{Alarm: kv.AlarmDisk}, {Alarm: kv.AlarmQuota, Action: pb.AlarmRequest_ACTIVATE}, {Action: 7}} {
		if _, err := m.Alarm(testContext(t), r); !errors.Is(err, kv.ErrInvalidCommand) {
			t.Errorf("%v: %v", r, err)
		}
	}
	if none := m.alarm(pb.AlarmRequest_ACTIVATE, pb.AlarmType_NONE, id); len(none) != 0 {
		t.Errorf("raised %v", none)
	}
}
