package raftstore

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/raft"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/broken"
	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/failure"
	"github.com/ctlplane/ctlplane/raftstore/membership"
	"github.com/ctlplane/ctlplane/raftstore/propose"
)

// followerReadTimeout bounds one question to the leader; a leader that does not answer in it is asked again,
// or another one is.
const followerReadTimeout = time.Second

// LinearizableRead returns once reads of this member's own state see everything that was acknowledged, by
// any member, before the call.
func (m *Member) LinearizableRead(ctx context.Context) error {
	// As long as a command would wait for a leader.
	asking, cancel := context.WithTimeoutCause(ctx, m.config.RequestTimeout, ErrNoLeader)
	defer cancel()
	index, err := m.readIndex(asking)
	if err != nil {
		return err
	}
	return m.machine.WaitApplied(ctx, index)
}

// ReadState reads something of this member's own state, if it can be read at all: however far it is behind, also behind what this
// member has answered, and whatever alarm is raised.
func (m *Member) ReadState(ctx context.Context) error {
	// The smallest key there can be: nobody has it, and the read takes the way of all reads.
	smallest := &pb.RangeRequest{Key: []byte{0}, KeysOnly: true, Limit: 1}
	return m.machine.WithStore(func(store *kv.Store) error {
		_, err := store.Range(ctx, smallest)
		return err
	})
}

// readIndex asks whoever leads, until ctx ends.
func (m *Member) readIndex(ctx context.Context) (uint64, error) {
	for {
		changed := m.changed.Next()
		var index uint64
		err := failure.ErrNotLeading
		switch now := m.route(); {
		case now.Here:
			index, err = m.leaderRounds.Join(ctx)
		case now.Leader != "":
			index, err = m.followerRounds.Join(ctx)
		}
		if err == nil {
			return index, nil
		}
		if m.life.Err() != nil {
			return 0, ErrClosed
		}
		// A read changes nothing, so whatever went wrong it may be tried again.
		select {
		case <-changed:
		case <-time.After(propose.RetryPause):
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// askLeader is a follower's question. It carries the follower's term, as of a moment after the readers came: see
// witnessedIndex.
func (m *Member) askLeader(ctx context.Context) (uint64, error) {
	now := m.route()
	if now.Leader == "" || now.Here {
		return 0, failure.ErrNotLeading
	}
	ctx, cancel := context.WithTimeout(ctx, followerReadTimeout)
	defer cancel()
	return m.peers.ReadIndex(ctx, now.Leader, m.config.Identity.MemberID, now.Term)
}

// provenIndex answers an index, as of a moment after the call, at which this member proves to have led.
//
// The order matters: the index is taken before leadership is proved. Taken after, another leader might have
// committed more in between.
func (m *Member) provenIndex(ctx context.Context) (uint64, error) {
	term, err := m.waitForFirstEntry(ctx)
	if err != nil {
		return 0, err
	}
	index := m.raft.CommitIndex()
	if broken.Is(broken.ReadWithoutProof) {
		return index, nil
	}
	err = m.proof.Prove(ctx, term, func() (bool, <-chan struct{}) {
		changed := m.changed.Next()
		return m.leadsIn(term), changed
	})
	return index, err
}

// witnessedIndex answers an index to a follower whose question tells the term that it was in. Where two voters are a majority the
// question is the second vote: neither of them has, after the readers came, elected anybody else. Otherwise, false.
func (m *Member) witnessedIndex(by, term uint64) (uint64, bool) {
	voters := m.voterServers()
	_, askerVotes := membership.Find(voters, membership.ServerID(by))
	_, votes := membership.Find(voters, membership.ServerID(m.config.Identity.MemberID))
	if !askerVotes || !votes || len(voters) > 3 || m.machine.Term() != term {
		return 0, false
	}
	index := m.raft.CommitIndex()
	return index, m.leadsIn(term)
}

// leadsIn tells whether this member leads in a term.
func (m *Member) leadsIn(term uint64) bool {
	// Terms only grow: if it is the same before and after, the state between is of that term.
	return m.raft.CurrentTerm() == term && m.raft.State() == raft.Leader && m.raft.CurrentTerm() == term
}

// beat sends a heartbeat as Raft does, but now.
func (m *Member) beat(to raft.Server, term uint64) error {
	return m.transport.AppendEntries(to.ID, to.Address, m.request(term), &raft.AppendEntriesResponse{})
}

// request is a request to append no entries, from this member as the leader of a term.
func (m *Member) request(term uint64) *raft.AppendEntriesRequest {
	self := membership.ServerID(m.config.Identity.MemberID)
	return &raft.AppendEntriesRequest{
		RPCHeader: raft.RPCHeader{
			ProtocolVersion: raft.ProtocolVersionMax, ID: []byte(self), Addr: m.transport.EncodePeer(self, m.transport.LocalAddr()),
		},
		Term: term,
	}
}

// waitForFirstEntry returns once this leader has applied an entry of its own term: before, its commit index
// may be behind what earlier leaders have acknowledged. From then on each entry of the log is one that the
// state machine sees, so its applied index reaches every commit index.
func (m *Member) waitForFirstEntry(ctx context.Context) (term uint64, err error) {
	for {
		changed := m.changed.Next()
		term = m.raft.CurrentTerm()
		if m.raft.State() != raft.Leader {
			return 0, failure.ErrNotLeading
		}
		if m.machine.Term() == term {
			return term, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, errors.Join(failure.ErrNotLeading, context.Cause(ctx))
		}
	}
}
