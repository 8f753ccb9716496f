package raftstore

import (
	"context"
	"errors"

	"github.com/hashicorp/raft"

	"github.com/ctlplane/ctlplane/raftstore/membership"
)

// MoveLeader hands leadership to the member with this id and returns once it has it. ctx bounds the wait. Only the leader
// can do that. Errors: ErrNotLeader, ErrBadTransferee, ErrTransfereeHangs, ErrTransferTimeout.
func (m *Member) MoveLeader(ctx context.Context, id uint64) error {
	target := membership.ServerID(id)
	now := m.route()
	if !now.Here {
		return ErrNotLeader
	}
	server, ok := membership.Find(m.servers(), target)
	if !ok || server.Suffrage != raft.Voter {
		return ErrBadTransferee
	}
	if target == now.Leader {
		return nil
	}
	if health, err := m.healthOf(ctx, target); err == nil && len(health.Hanging) > 0 {
		return ErrTransfereeHangs
	}
	if err := m.transfer(ctx, server); err != nil {
		if errors.Is(err, raft.ErrNotLeader) {
			return ErrNotLeader
		}
		m.logger.Warn("leadership was not handed over", "to", m.nameOf(target), "error", err)
		return ErrTransferTimeout
	}
	return m.waitLeader(ctx, target)
}

// transfer has another voter take the lead. A leader whose disk hangs can't bring its log to an end first, which Raft's way
// of handing over begins with: it has the other one start an election.
func (m *Member) transfer(ctx context.Context, to raft.Server) error {
	if m.stalls() {
		return m.startElectionAt(to.ID, to.Address)
	}
	m.handOverLeases(ctx)
	done := make(chan error, 1)
	m.wg.Go(func() { done <- m.raft.LeadershipTransferToServer(to.ID, to.Address).Error() })
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// waitLeader returns once this member knows that another one leads.
func (m *Member) waitLeader(ctx context.Context, id raft.ServerID) error {
	for {
		changed := m.changed.Next()
		if m.route().Leader == id {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ErrTransferTimeout
		case <-m.life.Done():
			return ErrClosed
		}
	}
}
