package raftstore

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// transport is Raft's network transport, with two differences.
//
// It keeps a follower's acknowledgement from Raft until what it acknowledges is durable here, too (see
// writeBehind).
//
// And all pipelines of entries to followers can be closed at once. Raft waits at its end for the goroutine
// that fills a pipeline, and that one may be waiting for room in a pipeline which nobody empties any more:
// only closing it helps.
type transport struct {
	*raft.NetworkTransport
	log         *writeBehind
	instruments *instruments
	closed      atomic.Bool
	heartbeats  heartbeats

	mu   sync.Mutex
	open map[*pipeline]struct{}
}

func newTransport(network *raft.NetworkTransport, log *writeBehind) *transport {
	return &transport{NetworkTransport: network, log: log, open: map[*pipeline]struct{}{}}
}

// AppendEntries sends entries to a follower and waits for its answer.
func (t *transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, request *raft.AppendEntriesRequest, response *raft.AppendEntriesResponse) error {
	begun := time.Now()
	err := t.NetworkTransport.AppendEntries(id, target, request, response)
	if len(request.Entries) == 0 {
		t.instruments.heartbeat(id, time.Since(begun), err)
	}
	if err != nil {
		return err
	}
	if !t.log.awaitDurable(lastIndex(request), &t.closed) {
		return raft.ErrTransportShutdown
	}
	return nil
}

// lastIndex is what a follower that accepts the request acknowledges; 0 for nothing.
func lastIndex(request *raft.AppendEntriesRequest) uint64 {
	if n := len(request.Entries); n > 0 {
		return request.Entries[n-1].Index
	}
	return 0
}

// pipeline is a row of requests to one follower that are not waited for one by one.
type pipeline struct {
	raft.AppendPipeline
	transport *transport
	answers   chan raft.AppendFuture
	closed    atomic.Bool
	done      chan struct{} // closed by Close
	relay     sync.WaitGroup
}

// AppendEntriesPipeline opens a pipeline to a follower.
func (t *transport) AppendEntriesPipeline(id raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	opened, err := t.NetworkTransport.AppendEntriesPipeline(id, target)
	if err != nil {
		return nil, err
	}
	p := &pipeline{AppendPipeline: opened, transport: t, answers: make(chan raft.AppendFuture), done: make(chan struct{})}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed.Load() {
		_ = opened.Close()
		return nil, raft.ErrTransportShutdown
	}
	t.open[p] = struct{}{}
	p.relay.Go(p.relayAnswers)
	return p, nil
}

// Consumer returns the channel of the answers, in the order of the requests.
func (p *pipeline) Consumer() <-chan raft.AppendFuture { return p.answers }

func (p *pipeline) relayAnswers() {
	for {
		select {
		case answer := <-p.AppendPipeline.Consumer():
			if !p.transport.log.awaitDurable(lastIndex(answer.Request()), &p.closed) {
				return
			}
			select {
			case p.answers <- answer:
			case <-p.done:
				return
			}
		case <-p.done:
			return
		}
	}
}

// Close closes the pipeline.
func (p *pipeline) Close() error {
	p.transport.mu.Lock()
	delete(p.transport.open, p)
	p.transport.mu.Unlock()
	return p.end()
}

func (p *pipeline) end() error {
	if !p.closed.Swap(true) {
		close(p.done)
		p.transport.log.wake()
	}
	err := p.AppendPipeline.Close()
	p.relay.Wait()
	return err
}

// closePipelines closes all pipelines, those that are yet to be opened included.
func (t *transport) closePipelines() {
	t.closed.Store(true)
	t.log.wake()
	t.mu.Lock()
	defer t.mu.Unlock()
	for p := range t.open {
		_ = p.end()
	}
}
