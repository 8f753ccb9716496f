package raftstore

import (
	"sync/atomic"
	"testing"

	"github.com/hashicorp/raft"

	"github.com/ctlplane/ctlplane/raftstore/membership"
	"github.com/ctlplane/ctlplane/raftstore/peers"
)

// attempts counts what a leader sends to a follower, and how much of it fails.
type attempts struct {
	peers.Network
	of atomic.Value // the follower's id, once it is set

	heartbeats, entries chan struct{} // a token for each that failed
}

func (a *attempts) AppendEntries(id raft.ServerID, target raft.ServerAddress, request *raft.AppendEntriesRequest, response *raft.AppendEntriesResponse) error {
	err := a.Network.AppendEntries(id, target, request, response)
	if err != nil && id == a.of.Load() {
		if len(request.Entries) == 0 && request.PrevLogEntry == 0 {
			a.heartbeats <- struct{}{}
		} else {
			a.entries <- struct{}{}
		}
	}
	return err
}

// TestFollowerThatWasAwayIsServedAtOnce: however long a follower was away, Raft counts few failures, after each of which it would
// wait twice as long as before.
func TestFollowerThatWasAwayIsServedAtOnce(t *testing.T) {
	sent := &attempts{heartbeats: make(chan struct{}, 1000), entries: make(chan struct{}, 1000)}
	c := newTestCluster(t, 3, func(config *Config) {
		if config.Identity.Name == "m1" {
			config.wrapNetwork = func(n peers.Network) peers.Network { sent.Network = n; return sent }
		}
	})
	leader := c.members[0]
	if c.leader() != leader {
		t.Fatal("another one than the first leads")
	}
	follower := c.members[2]
	sent.of.Store(membership.ServerID(follower.config.Identity.MemberID))
	follower.stop()
	const beats = 10
	for range beats {
		leader.put("key", "while it is away")
		select {
		case <-sent.heartbeats:
		case <-testContext(t).Done():
			t.Fatal("no heartbeat fails")
		}
	}
	if n := len(sent.entries); n > 3 {
		t.Errorf("%d heartbeats and %d requests with entries have failed, want at most 3 of these", beats, n)
	}
	follower.start()
	follower.wantValue("key", "while it is away")
}
