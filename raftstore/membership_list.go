package raftstore

import (
	"context"
	"errors"
	"time"

	"github.com/hashicorp/raft"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/failure"
	"github.com/ctlplane/ctlplane/raftstore/membership"
)

// recordPause is between two attempts to write this member's own record.
const recordPause = 500 * time.Millisecond

// Members lists the cluster's members, linearizably; those that were added and never started have no name.
func (m *Member) Members(ctx context.Context) ([]*pb.Member, error) {
	if err := m.LinearizableRead(ctx); err != nil {
		return nil, err
	}
	return m.MembersHere(), nil
}

// MembersHere lists the members as this one knows them.
func (m *Member) MembersHere() []*pb.Member {
	servers := m.servers()
	var members []*pb.Member
	for _, record := range m.MemberRecords() {
		learner := record.IsLearner
		if server, inGroup := membership.Find(servers, membership.ServerID(record.ID)); inGroup {
			learner = server.Suffrage != raft.Voter
		} else if record.Name != "" {
			continue // being added, or being removed
		}
		members = append(members, &pb.Member{
			ID: record.ID, Name: record.Name, PeerURLs: record.PeerURLs, ClientURLs: record.ClientURLs, IsLearner: learner,
		})
	}
	return members
}

// IsLearner tells whether this member was added as a learner and not promoted: it then serves no requests but
// serializable reads and questions after its status. One that is only catching up, to vote by itself, serves them all.
func (m *Member) IsLearner() bool {
	id := m.config.Identity.MemberID
	if record, ok := m.record(id); ok {
		return m.isLearner(record)
	}
	// So far behind that it does not know yet what it was added as, or not a member any more.
	server, inGroup := membership.Find(m.servers(), membership.ServerID(id))
	return !inGroup || server.Suffrage != raft.Voter
}

// MemberRecords are the members' replicated records as this member has them, with their API addresses.
func (m *Member) MemberRecords() []kv.Member { return m.machine.Store().Members() }

func (m *Member) record(id uint64) (kv.Member, bool) {
	for _, record := range m.MemberRecords() {
		if record.ID == id {
			return record, true
		}
	}
	return kv.Member{}, false
}

// keepRecord writes this member's own record when it is missing or has changed: after the group was created, after it
// joined, or after a restart with other addresses.
func (m *Member) keepRecord(ctx context.Context) {
	for ctx.Err() == nil {
		// Not from a state that is behind: it may know nothing of what was decided about this member.
		if err := m.LinearizableRead(ctx); err != nil {
			if errors.Is(err, ErrClosed) || !m.pauseRecord(ctx) {
				return
			}
			continue
		}
		want := m.config.Identity.record()
		want.Rules = m.machine.Store().KnownRules()
		have, ok := m.record(want.ID)
		if ok { // what others decide about this member
			want.IsLearner = have.IsLearner
			// How the address is spelled is this member's own affair.
			if len(have.PeerURLs) > 0 && membership.HostPort(have.PeerURLs) != membership.HostPort(want.PeerURLs) {
				want.PeerURLs = have.PeerURLs
			}
		}
		if ok && membership.SameRecord(have, want) {
			return
		}
		command := kv.Command{Member: &kv.MemberUpdate{Operation: kv.MemberSet, Member: want}}
		result, err := m.Propose(ctx, command)
		if err == nil && (result.Err == nil || errors.Is(result.Err, kv.ErrMemberRemoved)) {
			return
		}
		if errors.Is(err, ErrClosed) {
			return
		}
		m.logger.Warn("this member's record was not written; trying again", "error", firstError(err, result.Err))
		if !m.pauseRecord(ctx) {
			return
		}
	}
}

// pauseRecord waits before the next attempt. It returns false when there is to be none.
func (m *Member) pauseRecord(ctx context.Context) bool {
	select {
	case <-time.After(recordPause):
		return true
	case <-ctx.Done():
		return false
	}
}

func (m *Member) writeRecord(ctx context.Context, operation kv.MemberOperation, record kv.Member) error {
	result, err := m.Propose(ctx, kv.Command{Member: &kv.MemberUpdate{Operation: operation, Member: record}})
	if err == nil && errors.Is(result.Err, kv.ErrMemberNotFound) && operation == kv.MemberRemove {
		return nil // it had none
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return failure.Begun(err) // it may be in flight
	}
	return firstError(err, result.Err)
}
