// Package readindex is what makes reads linearizable: readers share a question for the index that they have to see (Rounds), and
// the leader proves, as of a moment after it was asked, that it leads (Proof). Readers of single keys share the lookup too (Points).
//
// All are safe for concurrent use, but one goroutine at a time may prove.
package readindex

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ctlplane/ctlplane/raftstore/failure"
	"github.com/ctlplane/ctlplane/raftstore/notify"
	"github.com/ctlplane/ctlplane/raftstore/peers"
)

// Proof shows that this member leads, as of a moment after it was asked: what makes reads linearizable, and renewals of
// leases true (Ongaro's thesis, 6.4). docs/decisions/0014 says why Raft's own VerifyLeader does not.
//
// Every request to append entries is stamped with the number of rounds that have begun before it; heartbeats are such requests
// too. A voter that answers in the request's own term has, at some moment after the request began, elected nobody of a
// later term. So once a majority has answered requests that were begun after a round was, any later leader was elected
// after the round began, and nobody but this member can have acknowledged anything before it did.
//
// Invariants:
//  1. An answer counts for the rounds that were begun before its request was, and for no other.
//  2. Answers of another term than the request's count for nothing.
//  3. Voters alone count. This member is one of them if it votes, and its own term is looked at after the round.
//  4. No clock is used. A process that was stopped proves nothing by what reached it meanwhile.
type Proof struct {
	self   raft.ServerID
	voters func() []raft.Server
	// beat sends a heartbeat of a term and waits for its answer, which comes back by way of Answered.
	beat func(to raft.Server, term uint64) error

	rounds  atomic.Uint64
	answers notify.Signal  // notified when an answer may have proved a round
	workers *peers.Workers // they ask the voters

	mu    sync.Mutex
	open  lead // the round that is to be proved; zero: none
	heard map[raft.ServerID]lead
}

// askPause is how long a voter is left in peace that can't be reached.
const askPause = 10 * time.Millisecond

// lead is a term and a round of proof in it.
type lead struct{ term, round uint64 }

func (l lead) covers(other lead) bool { return l.term == other.term && l.round >= other.round }

// NewProof is of the member self; see Proof for voters and beat.
func NewProof(life context.Context, self raft.ServerID, voters func() []raft.Server, beat func(raft.Server, uint64) error) *Proof {
	p := &Proof{self: self, voters: voters, beat: beat, heard: map[raft.ServerID]lead{}}
	p.workers = peers.NewWorkers(life, p.ask)
	return p
}

// NextRound numbers a round. Answers to requests that begin from now on can be told from those to earlier ones.
func (p *Proof) NextRound() uint64 { return p.rounds.Add(1) }

// HeardOf is the last round that a member's answers count for, 0 for none.
func (p *Proof) HeardOf(id raft.ServerID) uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.heard[id].round
}

// ProvedIn tells whether a round is proved in a term.
func (p *Proof) ProvedIn(term, round uint64) bool { return p.proved(lead{term, round}) }

// Wait waits for what asks the voters, after life has ended.
func (p *Proof) Wait() { p.workers.Wait() }

// Stamp is taken before a request begins, for Answered.
func (p *Proof) Stamp() uint64 { return p.rounds.Load() }

// Answered notes a voter's answer in the term of the request, which was stamped.
func (p *Proof) Answered(by raft.ServerID, term, stamp uint64) {
	now := lead{term, stamp}
	p.mu.Lock()
	if before := p.heard[by]; before.term > term || before.covers(now) {
		p.mu.Unlock()
		return
	}
	p.heard[by] = now
	waits := p.open.round > 0 && now.covers(p.open)
	p.mu.Unlock()
	if waits {
		p.answers.Notify()
	}
}

// Prove returns once a round that begins now is proved; still tells whether this member leads in the term, and lost is closed
// when it may not any more. One goroutine at a time may prove.
func (p *Proof) Prove(ctx context.Context, term uint64, still func() (bool, <-chan struct{})) error {
	round := p.begin(term)
	defer p.end()
	p.workers.Wake(slices.DeleteFunc(p.voters(), func(server raft.Server) bool { return server.ID == p.self }))
	for {
		answered := p.answers.Next()
		leads, changed := still()
		switch {
		case !leads:
			return failure.ErrNotLeading
		case p.proved(round):
			return nil
		}
		select {
		case <-answered:
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func (p *Proof) begin(term uint64) lead {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = lead{term, p.NextRound()}
	return p.open
}

func (p *Proof) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = lead{}
}

// proved tells whether a majority has answered. The voters are those of the latest configuration. A later leader may have been
// elected by the one before it, and two neighbouring ones have no majorities without a voter in common.
func (p *Proof) proved(round lead) bool {
	voters := p.voters()
	p.mu.Lock()
	defer p.mu.Unlock()
	agreed := 0
	for _, server := range voters {
		if server.ID == p.self || p.heard[server.ID].covers(round) {
			agreed++
		}
	}
	return agreed > len(voters)/2
}

// ask asks a voter until it has answered what is open.
func (p *Proof) ask(ctx context.Context, server raft.Server) {
	for round := p.owes(server.ID); round.round > 0; {
		err := p.beat(server, round.term)
		again := p.owes(server.ID)
		if err != nil || again == round { // it can't be reached, or is in another term
			select {
			case <-time.After(askPause):
			case <-ctx.Done():
				return
			}
		}
		round = again
	}
}

// owes is the open round, if a voter has not answered it; zero else.
func (p *Proof) owes(id raft.ServerID) lead {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open.round == 0 || p.heard[id].covers(p.open) {
		return lead{}
	}
	return p.open
}
