package raftstore

import (
	"errors"
	"testing"
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
