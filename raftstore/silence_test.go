package raftstore

import (
	"errors"
	"testing"

	"github.com/hashicorp/raft"
)

// attempts counts what a leader sends to a follower, and how much of it fails.
type attempts struct {
	network
	of func() raft.ServerID

	heartbeats, entries chan struct{} // a token for each that failed
}

func (a *attempts) AppendEntries(id raft.ServerID, target raft.ServerAddress, request *raft.AppendEntriesRequest, response *raft.AppendEntriesResponse) error {
	err := a.network.AppendEntries(id, target, request, response)
	if err != nil && id == a.of() {
		if reach(request) == 0 {
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
	var away raft.ServerID
	sent := &attempts{of: func() raft.ServerID { return away }, heartbeats: make(chan struct{}, 1000), entries: make(chan struct{}, 1000)}
	c := newTestCluster(t, 3, func(config *Config) {
		if config.Identity.Name == "m1" {
			config.wrapNetwork = func(n network) network { sent.network = n; return sent }
		}
	})
	leader := c.members[0]
	if c.leader() != leader {
		t.Fatal("another one than the first leads")
	}
	follower := c.members[2]
	away = serverID(follower.config.Identity.MemberID)
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
	if n := len(sent.entries); n > silentAfter {
		t.Errorf("%d heartbeats and %d requests with entries have failed, want at most %d of these", beats, n, silentAfter)
	}
	follower.start()
	follower.wantValue("key", "while it is away")
}

func TestSilenceEndsWithTheLead(t *testing.T) {
	leads := true
	s := newSilence(func(raft.ServerID, uint64) bool { return leads })
	down := errors.New("connection refused")
	for range silentAfter {
		if err := s.wait("a", 1); err != nil {
			t.Fatalf("before it is silent: %v", err)
		}
		s.outcome("a", down)
	}
	if s.silent("a") == nil || s.silent("b") != nil {
		t.Error("the wrong follower is silent")
	}
	answered := make(chan error)
	go func() { answered <- s.wait("a", 1) }()
	s.outcome("a", nil)
	if err := <-answered; err != nil {
		t.Errorf("once it answers: %v", err)
	}
	for range silentAfter {
		s.outcome("a", down)
	}
	leads = false
	if err := s.wait("a", 1); !errors.Is(err, errSilent) {
		t.Errorf("once the lead is lost: %v", err)
	}
}
