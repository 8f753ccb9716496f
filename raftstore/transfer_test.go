package raftstore

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/disk"
)

func TestLeadershipIsMoved(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	leader, other := c.leader(), c.follower()
	id := other.config.Identity.MemberID
	if err := other.MoveLeader(testContext(t), id); !errors.Is(err, ErrNotLeader) {
		t.Errorf("at a follower: %v", err)
	}
	if err := leader.MoveLeader(testContext(t), 99); !errors.Is(err, ErrBadTransferee) {
		t.Errorf("to nobody: %v", err)
	}
	if err := leader.MoveLeader(testContext(t), leader.config.Identity.MemberID); err != nil {
		t.Errorf("to itself: %v", err)
	}
	if err := leader.MoveLeader(testContext(t), id); err != nil {
		t.Fatal(err)
	}
	if leads := leader.Status().Leader; leads != id {
		t.Errorf("%x leads, want %x", leads, id)
	}
	leader.put("key", "value")
}

// TestMovesThatFailStopNoWrites: Raft takes no writes while a transfer is under way, and a second transfer to a follower that does
// not follow never ended.
func TestMovesThatFailStopNoWrites(t *testing.T) {
	var disks hangingDisks
	for what, leave := range map[string]func(t *testing.T, leader, follower *testMember) (back func()){
		"a member that is down": func(_ *testing.T, _, follower *testMember) func() {
			follower.stop()
			return follower.start
		},
		"a member whose disk is full": func(t *testing.T, leader, follower *testMember) func() {
			room := disks.fill(t, follower)
			leader.put("key", "value")
			eventually(t, "entries to be refused", func() bool { return follower.stores.Log.Refusals() > 1 })
			return room
		},
	} {
		t.Run(what, func(t *testing.T) {
			c := newTestCluster(t, 3, disks.of)
			leader, follower := c.leader(), c.follower()
			id := follower.config.Identity.MemberID
			back := leave(t, leader, follower)
			for range 3 {
				if err := leader.MoveLeader(testContext(t), id); !errors.Is(err, ErrTransferTimeout) {
					t.Errorf("the move: %v", err)
				}
				if err := leader.tryPut(t, "key"); err != nil {
					t.Errorf("a put after it: %v", err)
				}
			}
			back()
			eventually(t, "the lead to be moved", func() bool { return c.leader().MoveLeader(testContext(t), id) == nil })
			follower.put("key", "last")
		})
	}
}

// TestLowDisksAndADeadMember: two members have little room, and the third, which would have the lead, is down. What makes room is
// still taken.
func TestLowDisksAndADeadMember(t *testing.T) {
	var low atomic.Bool
	c := newTestCluster(t, 3, func(config *Config) {
		config.DiskSpace = func(dir string) (disk.Space, error) {
			space, err := disk.SpaceOf(dir)
			if low.Load() {
				space.Free = disk.NewWatermarks(space.Total).Low / 2
			}
			return space, err
		}
	})
	leader := c.leader()
	c.follower().stop()
	leader.put("key", "value")
	low.Store(true)
	leader.eventually("to raise both alarms", func() bool { return len(leader.machine.Store().Alarmed(kv.AlarmDisk)) == 2 })
	for until := time.Now().Add(5 * disk.Period); time.Now().Before(until); {
		ctx, cancel := context.WithTimeout(testContext(t), tryFor)
		_, err := c.running().DeleteRange(ctx, &pb.DeleteRangeRequest{Key: []byte("key")})
		cancel()
		if err != nil {
			t.Fatal(err)
		}
	}
}
