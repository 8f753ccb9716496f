package raftstore

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/disk"
	"github.com/ctlplane/ctlplane/raftstore/keepalive"
	"github.com/ctlplane/ctlplane/raftstore/membership"
	"github.com/ctlplane/ctlplane/raftstore/notify"
	"github.com/ctlplane/ctlplane/raftstore/peers"
	"github.com/ctlplane/ctlplane/raftstore/propose"
	"github.com/ctlplane/ctlplane/raftstore/raftlog"
	"github.com/ctlplane/ctlplane/raftstore/readindex"
	"github.com/ctlplane/ctlplane/raftstore/snapshots"
	"github.com/ctlplane/ctlplane/raftstore/statemachine"
)

// Member is one server of a Raft group. All its methods may be called by any goroutine; those that take a
// context return when it ends, and what they had begun then goes on.
//
// Its parts end in the reverse order of their dependence: first what asks Raft for something, then Raft,
// which ends everything that was asked; then the network, then the disk.
type Member struct {
	config Config
	logger *slog.Logger

	stores     *raftlog.Stores
	stable     raft.StableStore // of stores, as Raft uses it
	snapshots  *snapshots.Store
	machine    *statemachine.Machine
	listener   *peers.Listener
	stream     *peers.Stream
	transport  *peers.Transport
	heartbeats *peers.Heartbeats
	proof      *readindex.Proof
	commits    *peers.Commits
	raft       *raft.Raft
	observer   *raft.Observer
	observed   chan raft.Observation
	peers      *peers.Conns
	server     *grpc.Server

	proposer       *propose.Proposer
	leaderRounds   *readindex.Rounds // shared by readers here and at followers, when this member leads
	followerRounds *readindex.Rounds
	points         *readindex.Points

	// changed is notified when there is another leader, and when a new one is ready for reads.
	changed    notify.Signal
	leadership leadership
	agreement  agreement                 // with who campaigns since the leader's process has ended
	lessor     atomic.Pointer[kv.Lessor] // nil unless this member leads
	renewals   *keepalive.Renewals       // at the leader, when another member is it
	disk       *disk.Disk
	reclaimed  reclaimed
	votes      disk.Work                // the term and the vote
	probe      *disk.Probe              // whether the disk works
	hangs      atomic.Pointer[[]string] // what of the disk's work hangs
	overQuota  chan int64               // has the size of a command that did not fit the quota
	joining    sync.Mutex               // held while the group's members are changed
	removals   removals
	cutting    sync.Mutex // held while the log is cut
	noting     sync.Mutex // held while the identity on the disk is changed

	answered answered

	leaderChanges atomic.Uint64
	instruments   *instruments

	life   context.Context
	end    context.CancelFunc
	wg     sync.WaitGroup
	closed sync.Once
	// undo closes what is open, last first.
	undo []func() error
}

// Close hands leadership over, if this member has it, and ends the member. What was proposed and not
// decided yet gets ErrOutcomeUnknown. ctx bounds the handing over alone. Only the first call does anything.
func (m *Member) Close(ctx context.Context) error {
	var err error
	m.closed.Do(func() {
		m.handOver(ctx)
		m.disk.Stop()
		m.proposer.Close()
		m.end()
		m.raft.DeregisterObserver(m.observer)
		m.server.Stop()
		m.wg.Wait()
		err = m.unwind()
	})
	return err
}

// handOver gives another voter the lead, so that the group need not find out that this one is gone.
func (m *Member) handOver(ctx context.Context) {
	if m.raft.State() != raft.Leader || m.voters() < 2 {
		return
	}
	heir, ok := m.chooseHeir(ctx, 1, func(*peers.Health) bool { return true })
	if !ok {
		m.logger.Info("leadership was not handed over; the others will elect a leader", "error", "no voter answers that its disk works")
		return
	}
	if err := m.transfer(ctx, heir); err != nil {
		m.logger.Info("leadership was not handed over; the others will elect a leader", "to", m.nameOf(heir.ID), "error", err)
	}
}

// Failed is closed when the member can't go on, because its disk failed, its log is damaged, or it was removed from the
// group. Err tells why. It still answers reads that ask for no consistency; its process should end.
func (m *Member) Failed() <-chan struct{} { return m.machine.Done() }

// Err is why the member failed, ErrRemoved where it was removed, ErrClosed after Close, and nil before.
func (m *Member) Err() error { return m.machine.Err() }

// Identity is who this member is.
func (m *Member) Identity() Identity { return m.config.Identity }

// observe passes on that the leader may have changed.
func (m *Member) observe() {
	for {
		select {
		case o := <-m.observed:
			if change, ok := o.Data.(raft.LeaderObservation); ok && change.LeaderID != "" {
				m.leaderChanges.Add(1)
				m.logger.Info("the group has a leader", "leader", m.nameOf(change.LeaderID), "term", m.raft.CurrentTerm())
			}
			m.changed.Notify()
			m.transport.Wake()
		case <-m.life.Done():
			return
		}
	}
}

// route tells where the leader is.
func (m *Member) route() propose.Route {
	if m.raft.State() == raft.Leader {
		return propose.Route{Leader: membership.ServerID(m.config.Identity.MemberID), Term: m.raft.CurrentTerm(), Here: true}
	}
	_, leader := m.raft.LeaderWithID()
	if leader == membership.ServerID(m.config.Identity.MemberID) {
		leader = "" // it has just ceased to lead
	}
	return propose.Route{Leader: leader, Term: m.raft.CurrentTerm()}
}

// servers are the group's members as the log has them.
func (m *Member) servers() []raft.Server {
	future := m.raft.GetConfiguration() // answers at once
	if future.Error() != nil {
		return nil
	}
	return future.Configuration().Servers
}

func (m *Member) addressOf(id raft.ServerID) (raft.ServerAddress, bool) {
	server, ok := membership.Find(m.servers(), id)
	return server.Address, ok
}

// voterServers are the members that vote.
func (m *Member) voterServers() []raft.Server {
	return membership.Voters(m.servers())
}

// otherServers are the members without this one.
func (m *Member) otherServers() []raft.Server {
	return membership.Without(m.servers(), membership.ServerID(m.config.Identity.MemberID))
}

// voters is how many members vote.
func (m *Member) voters() (n int) {
	for _, server := range m.servers() {
		if server.Suffrage == raft.Voter {
			n++
		}
	}
	return n
}

// sendsTo tells whether this member leads in a term, and sends entries to another one.
func (m *Member) sendsTo(id raft.ServerID, term uint64) bool {
	_, member := membership.Find(m.servers(), id)
	return member && m.leadsIn(term)
}

// rules is the version of the entries that this member proposes when it leads.
func (m *Member) rules() kv.Rules {
	var group []uint64
	for _, server := range m.servers() {
		group = append(group, membership.MemberID(server.ID))
	}
	return m.machine.Store().Rules(group)
}

// nameOf is a member's name, for people.
func (m *Member) nameOf(id raft.ServerID) string {
	for _, member := range m.machine.Store().Members() {
		if membership.ServerID(member.ID) == id {
			return member.Name
		}
	}
	return string(id)
}
