package raftstore

import (
	"context"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/entry"
	"github.com/ctlplane/ctlplane/supervise"
)

// leadership tells its watchers whether this member leads. The latest state wins: a watcher that is slow
// misses changes, never the last one.
type leadership struct {
	mu       sync.Mutex
	leads    bool
	closed   bool
	watchers []chan bool
}

func (l *leadership) watch() <-chan bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	ch := make(chan bool, 1)
	if l.closed {
		close(ch)
		return ch
	}
	ch <- l.leads
	l.watchers = append(l.watchers, ch)
	return ch
}

func (l *leadership) set(leads bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.leads == leads {
		return
	}
	l.leads = leads
	for _, ch := range l.watchers {
		select {
		case <-ch: // an older state that nobody took
		default:
		}
		ch <- leads
	}
}

func (l *leadership) close() {
	l.set(false)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, ch := range l.watchers {
		close(ch)
	}
	l.watchers = nil
}

// Leadership returns a channel that tells at once whether this member leads, and from then on every change;
// a reader that is slow gets the latest only. Leading means that everything which earlier leaders have
// committed is applied here. The channel is closed when the member is.
func (m *Member) Leadership() <-chan bool { return m.leadership.watch() }

// lead runs what the leader alone does, for as long as this member leads.
func (m *Member) lead() {
	defer m.leadership.close()
	stop := func() {}
	defer func() { stop() }()
	for {
		select {
		case leads := <-m.raft.LeaderCh():
			stop()
			stop = func() {}
			if leads {
				stop = m.startLeading()
			}
		case <-m.life.Done():
			return
		}
	}
}

// startLeading returns a function that ends the term and waits until it has.
func (m *Member) startLeading() (stop func()) {
	ctx, cancel := context.WithCancel(m.life)
	var term sync.WaitGroup
	term.Go(func() { m.term(ctx) })
	return func() {
		m.leadership.set(false)
		cancel()
		term.Wait()
	}
}

func (m *Member) term(ctx context.Context) {
	// An entry of this term: once it is applied so is everything before it. Raft begins a term with an
	// entry of its own, but the state machine doesn't see that one.
	first := make(chan error, 1)
	future := m.raft.Apply(entry.New(1), 0)
	go func() { first <- future.Error() }() // Raft ends it, at its own end at the latest
	select {
	case err := <-first:
		if err != nil {
			return // no longer the leader; the channel will say so
		}
	case <-ctx.Done():
		return
	}
	m.changed.Notify()
	lessor := kv.NewLessor(m.machine.Store(), m.config.Clock, m.recordCheckpoints)
	defer lessor.Close()
	lessor.Promote(m.config.HeartbeatTimeout)
	m.lessor.Store(lessor)
	defer m.lessor.Store(nil)
	if ctx.Err() == nil && m.raft.State() == raft.Leader {
		m.leadership.set(true)
	}
	var parts sync.WaitGroup
	if m.config.HeartbeatInterval > 0 {
		parts.Go(func() { m.upkeep(ctx, m.sendHeartbeats) })
	}
	parts.Go(func() { m.upkeep(ctx, func(ctx context.Context) { m.commits.Run(ctx, m.otherServers) }) })
	parts.Go(func() { m.upkeep(ctx, func(ctx context.Context) { m.expireLeases(ctx, lessor) }) })
	parts.Go(func() { m.upkeep(ctx, m.watchReach) })
	parts.Go(func() { m.upkeep(ctx, m.reconcileMembers) })
	parts.Go(func() { m.upkeep(ctx, m.watchCorruption) })
	parts.Go(func() { m.upkeep(ctx, m.watchCompactions) })
	parts.Go(func() { m.upkeep(ctx, m.watchQuota) })
	parts.Wait()
}

// upkeep runs a loop that only looks and proposes: after a panic it may begin anew. What keeps or applies the log is not run so.
func (m *Member) upkeep(ctx context.Context, loop func(context.Context)) {
	supervise.Again(ctx, "store-upkeep", m.config.Logger, func() { loop(ctx) })
}
