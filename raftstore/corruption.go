package raftstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/membership"
	"github.com/ctlplane/ctlplane/raftstore/propose"
)

// hashTimeout bounds one member's answer: it reads all its data for it.
const hashTimeout = 5 * time.Minute

// memberHash is one member's answer.
type memberHash struct {
	id   raft.ServerID
	hash kv.Hash
}

// errCompactedOtherwise says that histories differ, and that one which has not compacted as the others have may tell whose is right.
var errCompactedOtherwise = errors.New("the histories differ, and a member has not compacted as the others have: comparing again")

// compareHashes asks all members for the checksum of the history up to this one's revision. Those that can't be reached,
// or have compacted otherwise, are left out of the answer; this member is its first.
func (m *Member) compareHashes(ctx context.Context) ([]memberHash, error) {
	if err := m.LinearizableRead(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, hashTimeout)
	defer cancel()
	own, err := m.hashHistory(ctx, 0)
	if err != nil {
		return nil, err
	}
	index := m.machine.Store().AppliedIndex() // whoever has come there has made the compactions that own has
	self := membership.ServerID(m.config.Identity.MemberID)
	answers := []memberHash{{self, own}}
	otherwise := false
	var mu sync.Mutex
	var asked sync.WaitGroup
	for _, server := range m.servers() {
		if server.ID == self {
			continue
		}
		asked.Go(func() {
			hash, err := m.peers.HashKV(ctx, server.ID, own.Revision, index)
			switch {
			case err != nil:
				m.logger.Info("a member's history was not compared", "member", m.nameOf(server.ID), "error", err)
			case hash.CompactRevision != own.CompactRevision:
				m.logger.Debug("a member's history was not compared: it compacted meanwhile", "member", m.nameOf(server.ID))
				mu.Lock()
				otherwise = true
				mu.Unlock()
			default:
				mu.Lock()
				answers = append(answers, memberHash{server.ID, hash})
				mu.Unlock()
			}
		})
	}
	asked.Wait()
	if _, known := deviants(answers, len(m.servers())); !known && otherwise {
		return nil, errCompactedOtherwise
	}
	return answers, nil
}

// deviants are the members whose history differs from that of the majority of the group's members. known is false where no
// majority has the same: then nobody can tell who is right.
func deviants(answers []memberHash, members int) (ids []raft.ServerID, known bool) {
	bySum := map[uint32][]raft.ServerID{}
	for _, answer := range answers {
		bySum[answer.hash.Sum] = append(bySum[answer.hash.Sum], answer.id)
	}
	if len(bySum) < 2 {
		return nil, true
	}
	for _, agreeing := range bySum {
		if len(agreeing) >= membership.Majority(members) {
			known = true
		} else {
			ids = append(ids, agreeing...)
		}
	}
	return ids, known
}

// checkCorruption compares the members' histories, on the leader, and raises an alarm against those that differ, or
// against member 0, which means all, if nobody can tell which do.
func (m *Member) checkCorruption(ctx context.Context) error {
	answers, err := m.compareHashes(ctx)
	if err != nil {
		return err
	}
	return m.raiseDeviants(ctx, answers)
}

func (m *Member) raiseDeviants(ctx context.Context, answers []memberHash) (err error) {
	ids, known := deviants(answers, len(m.servers()))
	if len(ids) == 0 {
		return nil
	}
	if !known {
		m.logger.Error("the members' histories differ, and no majority has the same: restore the cluster from a snapshot")
		return m.raiseCorrupt(ctx, 0)
	}
	for _, id := range ids {
		m.logger.Error("a member's history differs from that of the majority: remove it, delete its data directory and add it again",
			"member", m.nameOf(id), "id", id)
		err = errors.Join(err, m.raiseCorrupt(ctx, membership.MemberID(id)))
	}
	return err
}

func (m *Member) raiseCorrupt(ctx context.Context, id uint64) error {
	_, err := m.Alarm(ctx, &pb.AlarmRequest{Action: pb.AlarmRequest_ACTIVATE, MemberID: id, Alarm: pb.AlarmType_CORRUPT})
	return err
}

// watchCorruption checks from time to time, as the leader.
func (m *Member) watchCorruption(ctx context.Context) {
	if m.config.CorruptCheckInterval <= 0 {
		return
	}
	ticker := m.config.Clock.NewTicker(m.config.CorruptCheckInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C():
		case <-ctx.Done():
			return
		}
		if err := m.checkCorruption(ctx); err != nil && ctx.Err() == nil {
			m.logger.Warn("the members' histories were not compared", "error", err)
		}
	}
}

// watchCompactions checks after each compaction, as the leader. One that not all members have made, or answer for, is looked at again
// the next time.
func (m *Member) watchCompactions(ctx context.Context) {
	if m.config.CompactCheckInterval <= 0 {
		return
	}
	ticker := m.config.Clock.NewTicker(m.config.CompactCheckInterval)
	defer ticker.Stop()
	checked := int64(0)
	for {
		select {
		case <-ticker.C():
		case <-ctx.Done():
			return
		}
		if m.machine.Store().CompactRevision() <= checked {
			continue
		}
		answers, err := m.compareHashes(ctx)
		if err == nil {
			err = m.raiseDeviants(ctx, answers)
		}
		switch {
		case err == nil && len(answers) == len(m.servers()):
			checked = answers[0].hash.CompactRevision
		case err != nil && ctx.Err() == nil:
			m.logger.Warn("the members' histories were not compared after a compaction", "error", err)
		}
	}
}

// checkOwnHistory compares this member's history with the others' once, and fails the member if it is the one that
// differs. A group without a leader, or a member that is alone, is not held up by it.
func (m *Member) checkOwnHistory(ctx context.Context) {
	if !m.config.InitialCorruptCheck {
		return
	}
	var answers []memberHash
	for {
		var err error
		if answers, err = m.compareHashes(ctx); err == nil {
			break
		}
		if ctx.Err() != nil || errors.Is(err, ErrClosed) {
			return
		}
		m.logger.Info("the history is not compared with the others' yet", "error", err)
		select {
		case <-time.After(propose.RetryPause):
		case <-ctx.Done():
		}
	}
	own := answers[0].id
	ids, known := deviants(answers, len(m.servers()))
	for _, id := range ids {
		if id != own {
			continue
		}
		remedy := "remove this member, delete its data directory and add it again"
		if !known {
			remedy = "no majority has the same history: restore the cluster from a snapshot"
		}
		m.machine.Fail(fmt.Errorf("%w: %s", ErrCorrupt, remedy))
		return
	}
	m.logger.Info("the history is that of the other members", "compared", len(answers)-1)
}
