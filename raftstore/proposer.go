package raftstore

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/failure"
	"github.com/ctlplane/ctlplane/raftstore/notify"
)

// retryPause is how long proposals wait that a leader-to-be, or a leader that is handing over, refused.
const retryPause = 10 * time.Millisecond

// route is where commands are proposed now.
type route struct {
	leader raft.ServerID // empty: nowhere
	term   uint64
	here   bool
}

// proposer gathers commands and proposes them in groups. While the last groups are in flight, commands
// wait; what has gathered by the time that one of them ends goes into the next. So a lone writer waits for
// nobody, and a thousand share an entry and its sync.
//
// Invariants:
//  1. Every proposal gets exactly one outcome.
//  2. A proposal is proposed again only if it is certain that it was not the first time.
//  3. Commands are proposed in the order in which they were added: groups go out one after another, and
//     to another leader only when none is in flight to the one before.
//  4. A command that another member forwarded is never forwarded on.
type proposer struct {
	queue    *queue
	maxBytes int
	now      func() time.Time

	rules func() kv.Rules // of the entries proposed here
	// route and changed tell the leader, and when to ask again.
	route   func() route
	changed *notify.Signal
	// apply proposes an entry here, expect and forget its commands (see stateMachine).
	apply   func(entry []byte) raft.ApplyFuture
	machine *stateMachine
	// answered is told of what the leader has applied.
	answered *answered
	// dial opens a stream to the leader.
	dial func(context.Context, raft.ServerID) (forwardStream, error)

	slots chan struct{} // one per group in flight
	idle  notify.Signal // notified when a group has ended
	// local are the groups proposed here, in order, for their waiter.
	local chan *group

	mu sync.Mutex
	// unsettled are those of them that have no outcome yet.
	unsettled []*group

	life context.Context
	stop context.CancelFunc
	wg   sync.WaitGroup

	forwarding *forwarding // of the run loop alone

	stats proposerStats
}

// proposerStats counts commands.
type proposerStats struct {
	committed, failed atomic.Uint64
	pending           atomic.Int64
}

// group is what shares a Raft entry, or a message to the leader.
type group struct {
	proposals []*proposal
	entry     []byte
	future    raft.ApplyFuture
}

func newProposer(config *Config) *proposer {
	p := &proposer{
		queue:    newQueue(config.MaxQueuedBytes, config.MaxQueued),
		maxBytes: config.MaxEntryBytes,
		now:      config.Clock.Now,
		slots:    make(chan struct{}, config.MaxInFlight),
		local:    make(chan *group, config.MaxInFlight),
	}
	p.life, p.stop = context.WithCancel(context.Background())
	return p
}

func (p *proposer) start() {
	p.wg.Go(p.run)
	p.wg.Go(p.await)
}

// close ends all waiting proposals, and returns once those in flight have ended too. Raft must still run:
// it ends them.
func (p *proposer) close() {
	for _, waiting := range p.queue.close() {
		waiting.fail(ErrClosed)
	}
	p.stop()
	p.wg.Wait()
}

// propose adds a command to the queue.
func (p *proposer) propose(proposal *proposal) {
	p.count(proposal)
	if err := p.queue.add(proposal); err != nil {
		proposal.fail(err)
	}
}

// proposeAll adds commands to the queue that shall go into one group.
func (p *proposer) proposeAll(proposals []*proposal) {
	for _, proposal := range proposals {
		p.count(proposal)
	}
	if err := p.queue.addAll(proposals); err != nil {
		for _, proposal := range proposals {
			proposal.fail(err)
		}
	}
}

// count has a proposal counted from now until its outcome.
func (p *proposer) count(proposal *proposal) {
	p.stats.pending.Add(1)
	answer := proposal.done
	proposal.done = func(result kv.Result, err error) {
		p.stats.pending.Add(-1)
		if err == nil {
			p.stats.committed.Add(1)
		} else {
			p.stats.failed.Add(1)
		}
		answer(result, err)
	}
}

// run takes groups from the queue and sends each where the leader is.
func (p *proposer) run() {
	defer close(p.local)
	defer func() { p.forwarding.end() }()
	var last route
	for {
		select {
		case <-p.queue.filled:
		case <-p.life.Done():
			return
		}
		changed := p.changed.Next()
		now := p.route()
		if now.leader == "" {
			p.waitForLeader(changed)
			continue
		}
		if now != last {
			if !p.waitUntilIdle() {
				return
			}
			last = now
		}
		if !p.acquire(changed) {
			p.queue.wake()
			continue
		}
		taken := p.current(p.queue.take(p.maxBytes), now)
		switch {
		case len(taken) == 0:
			p.release()
		case now.here:
			p.proposeHere(taken)
		default:
			p.forward(now.leader, taken)
		}
	}
}

// waitForLeader gives up proposals that have waited for long enough, and waits for a leader.
func (p *proposer) waitForLeader(changed <-chan struct{}) {
	now := p.now()
	for _, late := range p.queue.drop(func(waiting *proposal) bool {
		return waiting.here || waiting.ctx.Err() != nil || now.After(waiting.expires)
	}) {
		switch {
		case late.here:
			late.fail(failure.ErrNotLeading)
		case late.ctx.Err() != nil:
			late.fail(context.Cause(late.ctx))
		default:
			late.fail(ErrNoLeader)
		}
	}
	p.pause(changed, 5*retryPause)
	p.queue.wake()
}

// pause waits for a change of leaders, but not for long.
func (p *proposer) pause(changed <-chan struct{}, limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case <-p.life.Done():
	}
}

// waitUntilIdle ends what is in flight to the leader before, and waits for it.
func (p *proposer) waitUntilIdle() bool {
	p.forwarding.end()
	p.forwarding = nil
	for {
		idle := p.idle.Next()
		if len(p.slots) == 0 {
			return true
		}
		select {
		case <-idle:
		case <-p.life.Done():
			return false
		}
	}
}

// acquire waits for a free place in flight; false when the leader changed before there was one.
func (p *proposer) acquire(changed <-chan struct{}) bool {
	select {
	case p.slots <- struct{}{}:
		return true
	default:
	}
	select {
	case p.slots <- struct{}{}:
		return true
	case <-changed:
	case <-p.life.Done():
	}
	return false
}

func (p *proposer) release() {
	<-p.slots
	p.idle.Notify()
}

// current drops proposals that nobody waits for any more, or that may not go this way.
func (p *proposer) current(taken []*proposal, now route) []*proposal {
	kept := taken[:0]
	for _, proposal := range taken {
		switch {
		case proposal.ctx.Err() != nil:
			proposal.fail(context.Cause(proposal.ctx))
		case proposal.here && !now.here:
			proposal.fail(failure.ErrNotLeading)
		default:
			kept = append(kept, proposal)
		}
	}
	return kept
}

// proposeHere packs a group into a Raft entry.
func (p *proposer) proposeHere(proposals []*proposal) {
	size := 1
	for _, proposal := range proposals {
		size += len(proposal.encoded) + 5
	}
	g := &group{proposals: proposals, entry: newEntryBy(p.rules(), size)}
	commands := make([]kv.Command, len(proposals))
	for i, proposal := range proposals {
		g.entry = appendEntry(g.entry, proposal.encoded)
		commands[i] = proposal.command
	}
	p.machine.expect(g.entry, commands)
	p.mu.Lock()
	p.unsettled = append(p.unsettled, g)
	p.mu.Unlock()
	g.future = p.apply(g.entry)
	p.local <- g // never blocks: it has room for every group in flight
}

// await hands the outcomes of the groups proposed here to their proposals. Entries are applied in order,
// so it waits for them in order.
func (p *proposer) await() {
	for g := range p.local {
		err := g.future.Error()
		p.machine.forget(g.entry)
		if p.take(g) {
			p.settle(g, err)
			p.release()
		}
	}
}

// take returns false for a group that was abandoned.
func (p *proposer) take(g *group) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(p.unsettled, g)
	if i < 0 {
		return false
	}
	p.unsettled = slices.Delete(p.unsettled, i, i+1)
	return true
}

// abandon gives up what was proposed here, whose outcome Raft can't tell while its loop waits for a disk that hangs. What
// comes next may go to another leader.
func (p *proposer) abandon() {
	p.mu.Lock()
	groups := p.unsettled
	p.unsettled = nil
	p.mu.Unlock()
	for _, g := range groups {
		for _, proposal := range g.proposals {
			proposal.fail(ErrOutcomeUnknown)
		}
		p.release()
	}
}

func (p *proposer) settle(g *group, err error) {
	switch {
	case err == nil:
		p.deliver(g)
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		// Raft refused the entry before it went into the log.
		p.retry(g.proposals)
	default:
		for _, proposal := range g.proposals {
			proposal.fail(ErrOutcomeUnknown)
		}
	}
}

func (p *proposer) deliver(g *group) {
	results, ok := g.future.Response().([]kv.Result)
	if !ok || len(results) != len(g.proposals) {
		// The state machine has failed, so it is not known here; the entry is committed all the same.
		for _, proposal := range g.proposals {
			proposal.fail(ErrOutcomeUnknown)
		}
		return
	}
	for i, proposal := range g.proposals {
		results[i].Index = g.future.Index()
		proposal.done(results[i], nil)
	}
}

// retry proposes again what was certainly not proposed, once there may be a leader for it.
func (p *proposer) retry(proposals []*proposal) {
	if !proposals[0].here {
		p.pause(p.changed.Next(), retryPause)
	}
	p.queue.putBack(proposals)
}
