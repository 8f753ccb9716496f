package raftstore

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"
	"google.golang.org/grpc"

	"github.com/ctlplane/ctlplane/kv"
)

// Member is one server of a Raft group. All its methods may be called by any goroutine; those that take a
// context return when it ends, and what they had begun then goes on.
//
// Its parts end in the reverse order of their dependence: first what asks Raft for something, then Raft,
// which ends everything that was asked; then the network, then the disk.
type Member struct {
	config Config
	logger *slog.Logger

	stores     *logStores
	snapshots  *snapshotStore
	machine    *stateMachine
	listener   *peerListener
	stream     *raftStream
	transport  *transport
	heartbeats *heartbeats
	proof      *proof
	commits    *commits
	raft       *raft.Raft
	observer   *raft.Observer
	observed   chan raft.Observation
	peers      *peerConns
	server     *grpc.Server

	proposer       *proposer
	leaderRounds   *readRounds // shared by readers here and at followers, when this member leads
	followerRounds *readRounds

	// changed is notified when there is another leader, and when a new one is ready for reads.
	changed    signal
	leadership leadership
	agreement  agreement                 // with who stands for election since the leader's process has ended
	lessor     atomic.Pointer[kv.Lessor] // nil unless this member leads
	renewals   *renewals                 // at the leader, when another member is it
	disk       *disk
	votes      diskWork                 // the term and the vote
	diskProof  diskProof                // that the disk works
	hangs      atomic.Pointer[[]string] // what of the disk's work hangs
	overQuota  chan struct{}            // has a token when a command did not fit the quota
	joining    sync.Mutex               // held while the group's members are changed

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
		m.disk.stop()
		m.proposer.close()
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
	heir, ok := m.chooseHeir(ctx, 1, func(*health) bool { return true })
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
func (m *Member) Failed() <-chan struct{} { return m.machine.life.Done() }

// Err is why the member failed, ErrRemoved where it was removed, ErrClosed after Close, and nil before.
func (m *Member) Err() error { return m.machine.err() }

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
			m.changed.notify()
		case <-m.life.Done():
			return
		}
	}
}

// route tells where the leader is.
func (m *Member) route() route {
	if m.raft.State() == raft.Leader {
		return route{leader: serverID(m.config.Identity.MemberID), term: m.raft.CurrentTerm(), here: true}
	}
	_, leader := m.raft.LeaderWithID()
	if leader == serverID(m.config.Identity.MemberID) {
		leader = "" // it has just ceased to lead
	}
	return route{leader: leader, term: m.raft.CurrentTerm()}
}

// servers are the group's members as the log has them.
func (m *Member) servers() []raft.Server {
	future := m.raft.GetConfiguration() // answers at once
	if future.Error() != nil {
		return nil
	}
	return future.Configuration().Servers
}

func findServer(servers []raft.Server, id raft.ServerID) (raft.Server, bool) {
	for _, server := range servers {
		if server.ID == id {
			return server, true
		}
	}
	return raft.Server{}, false
}

func (m *Member) addressOf(id raft.ServerID) (raft.ServerAddress, bool) {
	server, ok := findServer(m.servers(), id)
	return server.Address, ok
}

// voterServers are the members that vote.
func (m *Member) voterServers() []raft.Server {
	return slices.DeleteFunc(slices.Clone(m.servers()), func(server raft.Server) bool { return server.Suffrage != raft.Voter })
}

// otherServers are the members without this one.
func (m *Member) otherServers() []raft.Server {
	self := serverID(m.config.Identity.MemberID)
	return slices.DeleteFunc(slices.Clone(m.servers()), func(server raft.Server) bool { return server.ID == self })
}

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
	_, member := findServer(m.servers(), id)
	return member && m.leadsIn(term)
}

// rules is the version of the entries that this member proposes when it leads.
func (m *Member) rules() kv.Rules {
	var group []uint64
	for _, server := range m.servers() {
		group = append(group, memberID(server.ID))
	}
	return m.machine.store.Load().Rules(group)
}

// nameOf is a member's name, for people.
func (m *Member) nameOf(id raft.ServerID) string {
	for _, member := range m.machine.store.Load().Members() {
		if serverID(member.ID) == id {
			return member.Name
		}
	}
	return string(id)
}
