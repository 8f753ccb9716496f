package raftstore

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ctlplane/ctlplane/api/peerpb"
	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/pki"
	"github.com/ctlplane/ctlplane/raftstore/failure"
	"github.com/ctlplane/ctlplane/raftstore/membership"
	"github.com/ctlplane/ctlplane/raftstore/propose"
)

const (
	// reconcileInterval is how often the leader looks at learners.
	reconcileInterval = 100 * time.Millisecond
	// promoteLag is how many entries a learner may be behind when it is made a voter.
	promoteLag = 64
	// aliveTimeout bounds the question whether a member is there.
	aliveTimeout = time.Second
	// changeTimeout bounds the wait for an earlier change of members.
	changeTimeout = 10 * time.Second
)

// How members change:
//
//  1. A new member gets a fresh id from the leader and begins as a learner: it gets the log and has no vote.
//  2. The leader makes it a voter once it has caught up, so that a slow newcomer never costs the majority; one that was
//     added as a learner waits for PromoteMember.
//  3. A machine that joins under the name of a member that is gone replaces it: the old id is removed
//     first. While a member of that name answers, the newcomer is refused.
//  4. A removed id never comes back; the state machine remembers it.
//  5. One change at a time, and none that would leave the group without a majority that answers and whose disks work. A
//     member whose disk hangs gets no vote.
//  6. A member that was added before it was started (ReserveMember) is a record without a name, and no part of the Raft
//     group. The machine that joins from its peer address takes its id.

// NewMember is what a machine says of itself that wants to be a member; addresses are host:port.
type NewMember struct {
	Name, PeerAddress, ClientAddress, APIAddress string
}

// AddMember makes a machine a member, on the leader or through it, and returns its id. The machine must
// then start with that id; it is a learner until it has caught up.
func (m *Member) AddMember(ctx context.Context, member NewMember) (id uint64, err error) {
	err = m.atLeader(ctx, func(ctx context.Context, now propose.Route) error {
		if now.Here {
			id, err = m.addHere(ctx, member)
		} else {
			id, err = m.peers.AddMember(ctx, now.Leader, &peerpb.AddMemberRequest{
				Name: member.Name, PeerAddress: member.PeerAddress, ClientAddress: member.ClientAddress, ApiAddress: member.APIAddress,
			})
		}
		return err
	})
	return id, err
}

func (m *Member) addHere(ctx context.Context, member NewMember) (uint64, error) {
	m.joining.Lock()
	defer m.joining.Unlock()
	if err := pki.ValidateMemberName(member.Name); err != nil {
		return 0, pki.Refuse(pki.JoinRefused, "%v", err)
	}
	if err := m.LinearizableRead(ctx); err != nil {
		return 0, err
	}
	if reserved, ok := m.reservation(member.PeerAddress); ok {
		return m.takeReservation(reserved, member)
	}
	if err := m.replaceGone(ctx, member); err != nil {
		return 0, err
	}
	identity := Identity{MemberID: newID(), Name: member.Name, PeerAddress: member.PeerAddress,
		ClientAddress: member.ClientAddress, APIAddress: member.APIAddress}
	if err := m.writeRecord(ctx, kv.MemberAdd, identity.record()); err != nil {
		return 0, err
	}
	future := m.raft.AddNonvoter(membership.ServerID(identity.MemberID), raft.ServerAddress(member.PeerAddress), 0, changeTimeout)
	if err := future.Error(); err != nil {
		return 0, failure.Begun(failure.OfRaft(err))
	}
	m.logger.Info("a new member is in the group, and catches up", "name", member.Name, "id", membership.ServerID(identity.MemberID))
	return identity.MemberID, nil
}

// replaceGone removes members that the newcomer replaces, and refuses when they are alive.
func (m *Member) replaceGone(ctx context.Context, newcomer NewMember) error {
	for _, have := range m.machine.Store().Members() {
		sameAddress := slices.Contains(membership.HostPorts(have.PeerURLs), newcomer.PeerAddress)
		if have.Name != newcomer.Name && !sameAddress {
			continue
		}
		if have.ID == m.config.Identity.MemberID || m.alive(ctx, membership.ServerID(have.ID)) {
			return pki.Refuse(pki.JoinRefused, "member %q at %s is in the cluster and running: choose another --name and --peer-addr, or remove that member first",
				have.Name, strings.Join(have.PeerURLs, ","))
		}
		m.logger.Info("a machine joins in the place of a member that is gone", "name", have.Name, "old", membership.ServerID(have.ID))
		if err := m.removeLocked(ctx, have.ID); err != nil {
			return err
		}
	}
	return nil
}

// RemoveMember takes a member out of the group, for good, on the leader or through it. Errors: kv.ErrMemberNotFound,
// ErrNotEnoughStarted, ErrUnsafe, or those of Propose.
func (m *Member) RemoveMember(ctx context.Context, id uint64) error {
	defer m.removals.begin()()
	return m.atLeader(ctx, func(ctx context.Context, now propose.Route) error {
		if !now.Here {
			return m.peers.RemoveMember(ctx, now.Leader, id)
		}
		return m.removeHere(ctx, id)
	})
}

func (m *Member) removeHere(ctx context.Context, id uint64) error {
	defer m.removals.begin()()
	m.joining.Lock()
	defer m.joining.Unlock()
	if err := m.LinearizableRead(ctx); err != nil {
		return err
	}
	if record, ok := m.record(id); ok && !m.config.LooseReconfig && !m.isLearner(record) {
		if voters, started := m.countStarted(m.MemberRecords(), id); started < membership.Majority(voters) {
			return ErrNotEnoughStarted
		}
	}
	return m.removeLocked(ctx, id)
}

// removeLocked removes a member; joining is held.
func (m *Member) removeLocked(ctx context.Context, id uint64) error {
	servers := m.servers()
	server, inGroup := membership.Find(servers, membership.ServerID(id))
	if _, recorded := m.record(id); !recorded && !inGroup {
		return kv.ErrMemberNotFound
	}
	if inGroup {
		if server.Suffrage == raft.Voter && !m.config.LooseReconfig && !m.safeWithout(ctx, servers, server.ID) {
			return ErrUnsafe
		}
		if err := m.raft.RemoveServer(server.ID, 0, changeTimeout).Error(); err != nil {
			return failure.OfRaft(err)
		}
	}
	if id == m.config.Identity.MemberID {
		return nil // it leads no more; the next leader drops the record
	}
	err := m.writeRecord(ctx, kv.MemberRemove, kv.Member{ID: id})
	if inGroup {
		err = failure.Begun(err)
	}
	return err
}

// safeWithout tells whether the voters that would be left have a majority that answers, and whose disks work.
func (m *Member) safeWithout(ctx context.Context, servers []raft.Server, without raft.ServerID) bool {
	var wg sync.WaitGroup
	answers := make(chan bool, len(servers))
	left := 0
	for _, server := range servers {
		if server.Suffrage != raft.Voter || server.ID == without {
			continue
		}
		left++
		wg.Go(func() { answers <- m.works(ctx, server.ID) })
	}
	wg.Wait()
	close(answers)
	alive := 0
	for yes := range answers {
		if yes {
			alive++
		}
	}
	return left > 0 && alive > left/2
}

// alive tells whether a member answers at its address.
func (m *Member) alive(ctx context.Context, id raft.ServerID) bool {
	return m.aliveWithin(ctx, id, aliveTimeout)
}

func (m *Member) aliveWithin(ctx context.Context, id raft.ServerID, patience time.Duration) bool {
	if id == membership.ServerID(m.config.Identity.MemberID) {
		return true
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	_, err := m.peers.Progress(ctx, id)
	return err == nil
}

// newID draws an id for a cluster or a member. It is never zero, and fits a signed number.
func newID() uint64 {
	var raw [8]byte
	_, _ = rand.Read(raw[:]) // never fails
	return binary.BigEndian.Uint64(raw[:])>>1 | 1
}
