package raftstore

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/raftstore/membership"
	"github.com/ctlplane/ctlplane/raftstore/peers"
)

// holding is a leader's network, as it is for a process that is stopped: an answer to a heartbeat has come and was not looked at
// yet, and nothing else goes out or comes in.
type holding struct {
	peers.Network
	mu      sync.Mutex
	stops   bool          // from now on
	caught  chan struct{} // closed when the answer is there
	release chan struct{} // closed to let it through
	open    bool          // the process goes on
}

func (h *holding) AppendEntries(id raft.ServerID, target raft.ServerAddress, request *raft.AppendEntriesRequest, response *raft.AppendEntriesResponse) error {
	h.mu.Lock()
	stopped := h.stops && !h.open
	first := stopped && h.caught != nil && request.LeaderCommitIndex == 0
	caught := h.caught
	if first {
		h.caught = nil
	}
	h.mu.Unlock()
	if stopped && !first {
		return errors.New("stopped")
	}
	err := h.Network.AppendEntries(id, target, request, response)
	if first {
		close(caught)
		<-h.release
	}
	return err
}

// AppendEntriesPipeline leaves all requests to AppendEntries.
func (h *holding) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

// TestStoppedLeaderReadsNothingOld: a leader that was stopped, and replaced meanwhile, took an answer to a request from before for
// the proof that it still leads.
func TestStoppedLeaderReadsNothingOld(t *testing.T) {
	held := &holding{}
	c := newTestCluster(t, 3, func(config *Config) {
		config.HeartbeatTimeout = 300 * time.Millisecond
		if config.Identity.Name == "m1" { // its clock stands still
			config.HeartbeatTimeout = testWait
			config.wrapNetwork = func(n peers.Network) peers.Network { held.Network = n; return held }
		}
	})
	old := c.members[0]
	if c.leader() != old {
		if err := c.leader().MoveLeader(testContext(t), old.config.Identity.MemberID); err != nil {
			t.Fatal(err)
		}
		old.eventually("to lead", func() bool { return c.leader() == old })
	}
	old.put("key", "old")
	caught, release := make(chan struct{}), make(chan struct{})
	held.mu.Lock()
	held.stops, held.caught, held.release = true, caught, release
	held.mu.Unlock()
	stamp := old.proof.NextRound()
	old.raft.VerifyLeader() // sends heartbeats
	<-caught
	heal := old.partition()
	eventually(t, "another leader", func() bool {
		for _, m := range c.members[1:] {
			if m.raft.State() == raft.Leader {
				_, err := m.Put(testContext(t), &pb.PutRequest{Key: []byte("key"), Value: []byte("new")})
				return err == nil
			}
		}
		return false
	})
	if old.raft.State() != raft.Leader {
		t.Fatal("the stopped leader has noticed")
	}
	read := make(chan string, 1)
	go func() {
		r, err := old.Range(testContext(t), &pb.RangeRequest{Key: []byte("key")})
		if err != nil {
			read <- err.Error()
			return
		}
		read <- string(r.Kvs[0].Value)
	}()
	old.eventually("to ask", func() bool { return old.proof.Stamp() > stamp })
	term, round := old.raft.CurrentTerm(), old.proof.Stamp()
	close(release)
	old.eventually("to see the answer", func() bool {
		return old.proof.HeardOf(membership.ServerID(c.members[1].config.Identity.MemberID)) >= stamp ||
			old.proof.HeardOf(membership.ServerID(c.members[2].config.Identity.MemberID)) >= stamp
	})
	if old.proof.ProvedIn(term, round) {
		t.Error("an answer to a request from before proves that it leads")
	}
	held.mu.Lock()
	held.open = true
	held.mu.Unlock()
	heal()
	if got := <-read; got != "new" {
		t.Errorf("read %q after another leader had acknowledged %q", got, "new")
	}
}

// TestFollowersQuestionIsAVote: it proves the lead of the only other voter that is needed, in its own term, and nobody else's.
func TestFollowersQuestionIsAVote(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	leader, follower := c.leader(), c.follower()
	follower.put("key", "value")
	id, term := follower.config.Identity.MemberID, leader.raft.CurrentTerm()
	for _, test := range []struct {
		name     string
		id, term uint64
		want     bool
	}{
		{"a voter's", id, term, true},
		{"of another term", id, term + 1, false},
		{"of none", id, 0, false},
		{"a stranger's", id + 1, term, false},
	} {
		index, ok := leader.witnessedIndex(test.id, test.term)
		if ok != test.want || ok && index < leader.machine.Store().AppliedIndex() {
			t.Errorf("%s: %v, index %d", test.name, ok, index)
		}
	}
	if _, ok := follower.witnessedIndex(leader.config.Identity.MemberID, term); ok {
		t.Error("a follower answered")
	}
	rounds := leader.proof.Stamp()
	follower.wantValue("key", "value")
	if now := leader.proof.Stamp(); now != rounds {
		t.Errorf("the leader took %d rounds for a follower's read", now-rounds)
	}
}
