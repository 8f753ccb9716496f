package raftstore

import (
	"context"
	"errors"
	"time"

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
	health, err := m.healthOf(ctx, target)
	if err != nil {
		m.logger.Warn("leadership was not handed over: the member does not answer", "to", m.nameOf(target), "error", err)
		return ErrTransferTimeout
	}
	if len(health.Hanging) > 0 {
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
//
// Raft takes no writes from the beginning of a transfer to its end. A transfer to a follower that doesn't follow leaves a request
// with the goroutine that sends to it, and the next transfer waits for that goroutine, for ever. So Raft is asked only for one
// that follows.
func (m *Member) transfer(ctx context.Context, to raft.Server) error {
	if m.stalls() {
		return m.startElectionAt(to.ID, to.Address)
	}
	if err := m.awaitFollower(ctx, to.ID); err != nil {
		return err
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

// followLook is between two looks at how far a follower is.
const followLook = 5 * time.Millisecond

var errDoesNotFollow = errors.New("the member does not take what this one sends, or the disk here does not")

// awaitFollower returns once a follower has acknowledged everything that is in the log now, which is durable here, too. It waits
// for an election timeout, as Raft does.
func (m *Member) awaitFollower(ctx context.Context, id raft.ServerID) error {
	ctx, cancel := context.WithTimeoutCause(ctx, m.config.HeartbeatTimeout, errDoesNotFollow)
	defer cancel()
	look := time.NewTicker(followLook)
	defer look.Stop()
	term, index := m.raft.CurrentTerm(), m.raft.LastIndex()
	for m.leadsIn(term) {
		if m.commits.Acknowledged(id, term) >= index && m.stores.Log.Durable(index) {
			return nil
		}
		select {
		case <-look.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	return raft.ErrNotLeader
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
