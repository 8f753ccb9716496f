package raftstore

import (
	"context"
	"errors"

	"github.com/hashicorp/raft"
)

// MoveLeader hands leadership to the member with this id and returns once it has it. ctx bounds the wait. Only the leader
// can do that. Errors: ErrNotLeader, ErrBadTransferee, ErrTransferTimeout.
func (m *Member) MoveLeader(ctx context.Context, id uint64) error {
	target := serverID(id)
	now := m.route()
	if !now.here {
		return ErrNotLeader
	}
	server, ok := findServer(m.servers(), target)
	if !ok || server.Suffrage != raft.Voter {
		return ErrBadTransferee
	}
	if target == now.leader {
		return nil
	}
	done := make(chan error, 1)
	m.handOverLeases(ctx)
	m.wg.Go(func() { done <- m.raft.LeadershipTransferToServer(server.ID, server.Address).Error() })
	select {
	case err := <-done:
		if errors.Is(err, raft.ErrNotLeader) {
			return ErrNotLeader
		}
		if err != nil {
			m.logger.Warn("leadership was not handed over", "to", m.nameOf(target), "error", err)
			return ErrTransferTimeout
		}
	case <-ctx.Done():
		return ErrTransferTimeout
	}
	return m.waitLeader(ctx, target)
}

// waitLeader returns once this member knows that another one leads.
func (m *Member) waitLeader(ctx context.Context, id raft.ServerID) error {
	for {
		changed := m.changed.next()
		if m.route().leader == id {
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
