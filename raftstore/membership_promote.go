package raftstore

import (
	"context"

	"github.com/hashicorp/raft"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/failure"
	"github.com/ctlplane/ctlplane/raftstore/membership"
	"github.com/ctlplane/ctlplane/raftstore/propose"
)

// readyPercent is how much of the leader's log a learner must have to be promoted by request.
const readyPercent = 90

// PromoteMember gives a learner a vote, on the leader or through it. Errors: kv.ErrMemberNotFound, ErrNotLearner,
// ErrLearnerNotReady, ErrNotEnoughStarted, or those of Propose.
func (m *Member) PromoteMember(ctx context.Context, id uint64) error {
	return m.atLeader(ctx, func(ctx context.Context, now propose.Route) error {
		if now.Here {
			return m.promoteHere(ctx, id)
		}
		return m.peers.PromoteMember(ctx, now.Leader, id)
	})
}

func (m *Member) promoteHere(ctx context.Context, id uint64) error {
	m.joining.Lock()
	defer m.joining.Unlock()
	if err := m.LinearizableRead(ctx); err != nil {
		return err
	}
	record, ok := m.record(id)
	if !ok {
		return kv.ErrMemberNotFound
	}
	if !m.isLearner(record) {
		return ErrNotLearner
	}
	server, inGroup := membership.Find(m.servers(), membership.ServerID(id))
	if !inGroup || record.Name == "" || !m.ready(ctx, server.ID) || !m.works(ctx, server.ID) {
		return ErrLearnerNotReady
	}
	voters, started := m.countStarted(m.MemberRecords(), 0)
	if !m.config.LooseReconfig && started+1 < membership.Majority(voters+1) {
		return ErrNotEnoughStarted
	}
	// The record goes first: cut off after it, the leader gives the vote by itself.
	record.IsLearner = false
	if err := m.writeRecord(ctx, kv.MemberUpdateExisting, record); err != nil {
		return err
	}
	if err := m.raft.AddVoter(server.ID, server.Address, 0, changeTimeout).Error(); err != nil {
		return failure.Begun(failure.OfRaft(err))
	}
	m.instruments.promoted()
	m.logger.Info("a learner was promoted, and votes", "name", record.Name, "id", server.ID)
	return nil
}

// ready tells whether a learner has readyPercent of the log.
func (m *Member) ready(ctx context.Context, id raft.ServerID) bool {
	ctx, cancel := context.WithTimeout(ctx, aliveTimeout)
	defer cancel()
	progress, err := m.peers.Progress(ctx, id)
	return err == nil && progress.LastIndex*100 >= m.raft.LastIndex()*readyPercent
}

// reconcileMembers gives members that joined a vote once they have caught up, and drops records that are left over from
// changes which were cut off.
func (m *Member) reconcileMembers(ctx context.Context) {
	ticker := m.config.Clock.NewTicker(reconcileInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C():
		case <-ctx.Done():
			return
		}
		if m.joining.TryLock() {
			m.promoteNewcomers(ctx)
			m.dropRecords(ctx)
			m.joining.Unlock()
		}
	}
}

// promoteNewcomers leaves those alone that were added as learners, and those whose name is not recorded yet: their ids
// may still be given to the same machine once more, see reservation.
func (m *Member) promoteNewcomers(ctx context.Context) {
	for _, server := range m.servers() {
		if server.Suffrage == raft.Voter {
			continue
		}
		record, ok := m.record(membership.MemberID(server.ID))
		if !ok || record.IsLearner || record.Name == "" || !m.caughtUp(ctx, server.ID) || !m.works(ctx, server.ID) {
			continue
		}
		if err := m.raft.AddVoter(server.ID, server.Address, 0, changeTimeout).Error(); err != nil {
			m.logger.Warn("a member that has caught up was not given a vote; trying again", "id", server.ID, "error", err)
			continue
		}
		m.logger.Info("a member has caught up, and votes", "name", record.Name, "id", server.ID)
	}
}

// dropRecords forgets members that are not in the group, but for those that are still to join.
func (m *Member) dropRecords(ctx context.Context) {
	servers := m.servers()
	for _, record := range m.MemberRecords() {
		if _, ok := membership.Find(servers, membership.ServerID(record.ID)); ok || len(servers) == 0 || record.Name == "" {
			continue
		}
		if err := m.writeRecord(ctx, kv.MemberRemove, kv.Member{ID: record.ID}); err != nil {
			m.logger.Warn("the record of a member that is gone was not removed; trying again", "name", record.Name, "error", err)
		}
	}
}

func (m *Member) caughtUp(ctx context.Context, id raft.ServerID) bool {
	ctx, cancel := context.WithTimeout(ctx, aliveTimeout)
	defer cancel()
	progress, err := m.peers.Progress(ctx, id)
	if err != nil {
		return false
	}
	commit := m.raft.CommitIndex()
	return progress.LastIndex+promoteLag >= commit && progress.AppliedIndex+promoteLag >= commit
}
