package raftstore

import (
	"context"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/failure"
	"github.com/ctlplane/ctlplane/raftstore/membership"
	"github.com/ctlplane/ctlplane/raftstore/propose"
)

// UpdateMember changes where the other members reach a member, on the leader or through it. It changes nothing else: a
// learner stays one. Errors: kv.ErrMemberNotFound, ErrPeerURLExists, ErrBadPeerURLs, or those of Propose.
func (m *Member) UpdateMember(ctx context.Context, id uint64, peerURLs []string) error {
	return m.atLeader(ctx, func(ctx context.Context, now propose.Route) error {
		if now.Here {
			return m.updateHere(ctx, id, peerURLs)
		}
		return m.peers.UpdateMember(ctx, now.Leader, id, peerURLs)
	})
}

func (m *Member) updateHere(ctx context.Context, id uint64, peerURLs []string) error {
	m.joining.Lock()
	defer m.joining.Unlock()
	if err := m.LinearizableRead(ctx); err != nil {
		return err
	}
	record, ok := m.record(id)
	if !ok {
		return kv.ErrMemberNotFound
	}
	if err := membership.ValidatePeerURLs(peerURLs); err != nil {
		return err
	}
	if membership.URLTaken(m.MemberRecords(), id, peerURLs) {
		return ErrPeerURLExists
	}
	record.PeerURLs = peerURLs
	if err := m.writeRecord(ctx, kv.MemberUpdateExisting, record); err != nil {
		return err
	}
	if _, inGroup := membership.Find(m.servers(), membership.ServerID(id)); !inGroup {
		return nil // it has not joined yet
	}
	// Of a server that is known this changes the address alone, whether it votes or not.
	future := m.raft.AddNonvoter(membership.ServerID(id), raft.ServerAddress(membership.HostPort(peerURLs)), 0, changeTimeout)
	if err := future.Error(); err != nil {
		return failure.Begun(failure.OfRaft(err))
	}
	return nil
}

// addressPause is between two looks at whether this member's address was changed.
const addressPause = time.Second

// followAddress notes in the data directory where the others reach this member, once that was changed: its next start has
// to be at that address.
func (m *Member) followAddress(ctx context.Context) {
	ticker := m.config.Clock.NewTicker(addressPause)
	defer ticker.Stop()
	noted := m.config.Identity.PeerAddress
	for {
		select {
		case <-ticker.C():
		case <-ctx.Done():
			return
		}
		record, ok := m.record(m.config.Identity.MemberID)
		address := membership.HostPort(record.PeerURLs)
		if !ok || address == "" || address == noted {
			continue
		}
		err := m.noteIdentity(func(i *Identity) { i.PeerAddress, i.PeerURLs = address, record.PeerURLs })
		if err != nil {
			m.logger.Warn("the new peer address was not noted; trying again", "address", address, "error", err)
			continue
		}
		noted = address
		m.logger.Info("the others reach this member at another address from now on: start it there next time", "address", address)
	}
}
