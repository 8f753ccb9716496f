package raftstore

import (
	"context"
	"slices"

	"github.com/hashicorp/raft"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/pki"
	"github.com/ctlplane/ctlplane/raftstore/failure"
	"github.com/ctlplane/ctlplane/raftstore/membership"
	"github.com/ctlplane/ctlplane/raftstore/propose"
)

// ReserveMember adds a member that has not started, as etcd's MemberAdd does, and returns its id: the machine that joins
// from the first of the peer URLs gets that id. With learner set it stays a learner until PromoteMember. On the leader,
// or through it. Errors are those of a refused change (errors.go), or those of Propose.
func (m *Member) ReserveMember(ctx context.Context, peerURLs []string, learner bool) (id uint64, err error) {
	err = m.atLeader(ctx, func(ctx context.Context, now propose.Route) error {
		if now.Here {
			id, err = m.reserveHere(ctx, peerURLs, learner)
		} else {
			id, err = m.peers.ReserveMember(ctx, now.Leader, peerURLs, learner)
		}
		return err
	})
	return id, err
}

func (m *Member) reserveHere(ctx context.Context, peerURLs []string, learner bool) (uint64, error) {
	m.joining.Lock()
	defer m.joining.Unlock()
	if err := membership.ValidatePeerURLs(peerURLs); err != nil {
		return 0, err
	}
	if err := m.LinearizableRead(ctx); err != nil {
		return 0, err
	}
	records := m.MemberRecords()
	if err := m.mayAdd(ctx, records, learner); err != nil {
		return 0, err
	}
	if membership.URLTaken(records, 0, peerURLs) {
		return 0, ErrPeerURLExists
	}
	record := kv.Member{ID: newID(), PeerURLs: peerURLs, IsLearner: learner}
	if err := m.writeRecord(ctx, kv.MemberAdd, record); err != nil {
		return 0, err
	}
	m.logger.Info("a member was added; it joins when it is started", "id", membership.ServerID(record.ID), "peer", peerURLs)
	return record.ID, nil
}

// mayAdd holds etcd's rules for one more member.
func (m *Member) mayAdd(ctx context.Context, records []kv.Member, learner bool) error {
	if learner {
		learners := 0
		for _, record := range records {
			if m.isLearner(record) {
				learners++
			}
		}
		if learners >= m.config.MaxLearners {
			return ErrTooManyLearners
		}
	}
	if m.config.LooseReconfig {
		return nil
	}
	if !learner {
		voters, started := m.countStarted(records, 0)
		alone := voters == 1 && started == 1 // has to be able to grow
		if !alone && started < membership.Majority(voters+1) {
			return ErrNotEnoughStarted
		}
	}
	if !m.safeWithout(ctx, m.servers(), "") {
		return ErrUnsafe
	}
	return nil
}

// countStarted counts the members that vote, or will, but without, and those of them that were ever started. This one
// is, even while its record is not written yet.
func (m *Member) countStarted(records []kv.Member, without uint64) (voters, started int) {
	own := m.config.Identity.MemberID
	if own != without && !slices.ContainsFunc(records, func(record kv.Member) bool { return record.ID == own }) {
		voters, started = 1, 1
	}
	for _, record := range records {
		if record.ID == without || m.isLearner(record) {
			continue
		}
		voters++
		if record.Name != "" || record.ID == own {
			started++
		}
	}
	return voters, started
}

// isLearner tells whether a member was added as a learner and not promoted. One that is only catching up is none.
func (m *Member) isLearner(record kv.Member) bool {
	server, inGroup := membership.Find(m.servers(), membership.ServerID(record.ID))
	return record.IsLearner && !(inGroup && server.Suffrage == raft.Voter)
}

// reservation finds the member that was added for a machine at this address and has never been started.
//
// Once it votes its id is not given away again: a voter must not forget what it acknowledged.
func (m *Member) reservation(peerAddress string) (kv.Member, bool) {
	servers := m.servers()
	for _, record := range m.MemberRecords() {
		if record.Name != "" || !slices.Contains(membership.HostPorts(record.PeerURLs), peerAddress) {
			continue
		}
		if server, inGroup := membership.Find(servers, membership.ServerID(record.ID)); !inGroup || server.Suffrage != raft.Voter {
			return record, true
		}
	}
	return kv.Member{}, false
}

// takeReservation lets the machine in that a member was added for. It writes its name into the record by itself, once it
// runs: until then it can ask again.
func (m *Member) takeReservation(reserved kv.Member, member NewMember) (uint64, error) {
	for _, have := range m.MemberRecords() {
		if have.Name == member.Name && have.ID != reserved.ID {
			return 0, pki.Refuse(pki.JoinRefused, "member %x has the name %q already: choose another --name, or remove that member", have.ID, member.Name)
		}
	}
	future := m.raft.AddNonvoter(membership.ServerID(reserved.ID), raft.ServerAddress(member.PeerAddress), 0, changeTimeout)
	if err := future.Error(); err != nil {
		return 0, failure.OfRaft(err)
	}
	m.logger.Info("a member that was added has started, and catches up", "name", member.Name, "id", membership.ServerID(reserved.ID))
	return reserved.ID, nil
}
