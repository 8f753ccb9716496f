// Package propose gathers commands and has them proposed: here, where this member leads, or else by the leader, to whom they are
// forwarded.
//
// A Proposer's methods may be called by any goroutine. It ends with Close, which returns once nothing of it runs.
package propose

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/entry"
	"github.com/ctlplane/ctlplane/raftstore/failure"
	"github.com/ctlplane/ctlplane/raftstore/notify"
)

// RetryPause is how long proposals wait that a leader-to-be, or a leader that is handing over, refused.
const RetryPause = 10 * time.Millisecond

// Proposer gathers commands and proposes them in groups. While the last groups are in flight, commands
// wait; what has gathered by the time that one of them ends goes into the next. So a lone writer waits for
// nobody, and a thousand share an entry and its sync.
//
// Invariants:
//  1. Every proposal gets exactly one outcome.
//  2. A proposal is proposed again only if it is certain that it was not the first time.
//  3. Commands are proposed in the order in which they were added: groups go out one after another, and
//     to another leader only when none is in flight to the one before.
//  4. A command that another member forwarded is never forwarded on.
type Proposer struct {
	options Options
	queue   *queue

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

	counted counters
}

// counters count commands, and streams to leaders.
type counters struct {
	committed, failed, streams atomic.Uint64
	pending                    atomic.Int64
}

// Stats are what has become of the commands until now.
type Stats struct {
	Pending           int64
	Committed, Failed uint64
	// Streams is how many streams to leaders were opened.
	Streams uint64
}

// Stats may be called by any goroutine.
func (p *Proposer) Stats() Stats {
	return Stats{
		Pending: p.counted.pending.Load(), Committed: p.counted.committed.Load(), Failed: p.counted.failed.Load(),
		Streams: p.counted.streams.Load(),
	}
}

// group is what shares a Raft entry, or a message to the leader.
type group struct {
	proposals []*Proposal
	entry     []byte
	future    raft.ApplyFuture
}

// New makes a proposer, which proposes nothing until it is started.
func New(options Options) *Proposer {
	p := &Proposer{
		options: options,
		queue:   newQueue(options.MaxQueuedBytes, options.MaxQueued),
		slots:   make(chan struct{}, options.MaxInFlight),
		local:   make(chan *group, options.MaxInFlight),
	}
	p.life, p.stop = context.WithCancel(context.Background())
	return p
}

// LimitQueue changes how many commands may wait.
func (p *Proposer) LimitQueue(length int) { p.queue.limit(length) }

// Start starts the goroutines, which Close ends.
func (p *Proposer) Start() {
	p.wg.Go(p.run)
	p.wg.Go(p.await)
}

// Close ends all waiting proposals, and returns once those in flight have ended too. Raft must still run:
// it ends them.
func (p *Proposer) Close() {
	for _, waiting := range p.queue.close() {
		waiting.fail(failure.ErrClosed)
	}
	p.stop()
	p.wg.Wait()
}

// Propose adds a command to the queue.
func (p *Proposer) Propose(proposal *Proposal) {
	p.count(proposal)
	if err := p.queue.add(proposal); err != nil {
		proposal.fail(err)
	}
}

// ProposeAll adds commands to the queue that shall go into one group.
func (p *Proposer) ProposeAll(proposals []*Proposal) {
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
func (p *Proposer) count(proposal *Proposal) {
	p.counted.pending.Add(1)
	answer := proposal.Done
	proposal.Done = func(result kv.Result, err error) {
		p.counted.pending.Add(-1)
		if err == nil {
			p.counted.committed.Add(1)
		} else {
			p.counted.failed.Add(1)
		}
		answer(result, err)
	}
}

// run takes groups from the queue and sends each where the leader is.
func (p *Proposer) run() {
	defer close(p.local)
	defer func() { p.forwarding.end() }()
	var last Route
	for {
		select {
		case <-p.queue.filled:
		case <-p.life.Done():
			return
		}
		changed := p.options.Changed.Next()
		now := p.options.Route()
		if now.Leader == "" {
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
		taken := p.current(p.queue.take(p.options.MaxEntryBytes), now)
		switch {
		case len(taken) == 0:
			p.release()
		case now.Here:
			p.proposeHere(taken)
		default:
			p.forward(now.Leader, taken)
		}
	}
}

// waitForLeader gives up proposals that have waited for long enough, and waits for a leader.
func (p *Proposer) waitForLeader(changed <-chan struct{}) {
	now := p.options.Now()
	for _, late := range p.queue.drop(func(waiting *Proposal) bool {
		return waiting.Here || waiting.Context.Err() != nil || now.After(waiting.Expires)
	}) {
		switch {
		case late.Here:
			late.fail(failure.ErrNotLeading)
		case late.Context.Err() != nil:
			late.fail(context.Cause(late.Context))
		default:
			late.fail(failure.ErrNoLeader)
		}
	}
	p.pause(changed, 5*RetryPause)
	p.queue.wake()
}

// pause waits for a change of leaders, but not for long.
func (p *Proposer) pause(changed <-chan struct{}, limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-changed:
	case <-timer.C:
	case <-p.life.Done():
	}
}

// waitUntilIdle ends what is in flight to the leader before, and waits for it.
func (p *Proposer) waitUntilIdle() bool {
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

// acquire waits for a free slot; false when the leader changed before there was one.
func (p *Proposer) acquire(changed <-chan struct{}) bool {
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

func (p *Proposer) release() {
	<-p.slots
	p.idle.Notify()
}

// current drops proposals that nobody waits for any more, or that may not go this way.
func (p *Proposer) current(taken []*Proposal, now Route) []*Proposal {
	kept := taken[:0]
	for _, proposal := range taken {
		switch {
		case proposal.Context.Err() != nil:
			proposal.fail(context.Cause(proposal.Context))
		case proposal.Here && !now.Here:
			proposal.fail(failure.ErrNotLeading)
		default:
			kept = append(kept, proposal)
		}
	}
	return kept
}

// proposeHere packs a group into a Raft entry.
func (p *Proposer) proposeHere(proposals []*Proposal) {
	size := 1
	for _, proposal := range proposals {
		size += len(proposal.Encoded) + 5
	}
	g := &group{proposals: proposals, entry: entry.NewBy(p.options.Rules(), size)}
	commands := make([]kv.Command, len(proposals))
	for i, proposal := range proposals {
		g.entry = entry.Append(g.entry, proposal.Encoded)
		commands[i] = proposal.Command
	}
	p.options.Machine.Expect(g.entry, commands)
	p.mu.Lock()
	p.unsettled = append(p.unsettled, g)
	p.mu.Unlock()
	g.future = p.options.Apply(g.entry)
	p.local <- g // never blocks: it has room for every group in flight
}

// await hands the outcomes of the groups proposed here to their proposals. Entries are applied in order,
// so it waits for them in order.
func (p *Proposer) await() {
	for g := range p.local {
		err := g.future.Error()
		p.options.Machine.Forget(g.entry)
		if p.take(g) {
			p.settle(g, err)
			p.release()
		}
	}
}

// take returns false for a group that was abandoned.
func (p *Proposer) take(g *group) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.Index(p.unsettled, g)
	if i < 0 {
		return false
	}
	p.unsettled = slices.Delete(p.unsettled, i, i+1)
	return true
}

// Abandon gives up what was proposed here, whose outcome Raft can't tell while its loop waits for a disk that hangs. What
// comes next may go to another leader.
func (p *Proposer) Abandon() {
	p.mu.Lock()
	groups := p.unsettled
	p.unsettled = nil
	p.mu.Unlock()
	for _, g := range groups {
		for _, proposal := range g.proposals {
			proposal.fail(failure.ErrOutcomeUnknown)
		}
		p.release()
	}
}

func (p *Proposer) settle(g *group, err error) {
	switch {
	case err == nil:
		p.deliver(g)
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress):
		// Raft refused the entry before it went into the log.
		p.retry(g.proposals)
	default:
		for _, proposal := range g.proposals {
			proposal.fail(failure.ErrOutcomeUnknown)
		}
	}
}

func (p *Proposer) deliver(g *group) {
	results, ok := g.future.Response().([]kv.Result)
	if !ok || len(results) != len(g.proposals) {
		// The state machine has failed, so it is not known here; the entry is committed all the same.
		for _, proposal := range g.proposals {
			proposal.fail(failure.ErrOutcomeUnknown)
		}
		return
	}
	for i, proposal := range g.proposals {
		results[i].Index = g.future.Index()
		proposal.Done(results[i], nil)
	}
}

// retry proposes again what was certainly not proposed, once there may be a leader for it.
func (p *Proposer) retry(proposals []*Proposal) {
	if !proposals[0].Here {
		p.pause(p.options.Changed.Next(), RetryPause)
	}
	p.queue.putBack(proposals)
}
