package raftstore

import (
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// network is what Raft's network transport does for Raft.
type network interface {
	raft.Transport
	raft.WithPreVote
	raft.WithClose
}

// transport is Raft's network transport, with five differences.
//
// It keeps a follower's acknowledgement from Raft until what it acknowledges is durable here, too (see
// writeBehind). What the acknowledgement says of who leads is noted at once (see proof).
//
// Heartbeats change nothing behind Raft's back (see heartbeats).
//
// What goes to a follower that does not answer waits until it does (see silence).
//
// And all pipelines of entries to followers can be closed at once. Raft waits at its end for the goroutine
// that fills a pipeline, and that one may be waiting for room in a pipeline which nobody empties any more:
// only closing it helps.
type transport struct {
	network
	log         *writeBehind
	proof       *proof
	commits     *commits
	instruments *instruments
	closed      atomic.Bool
	heartbeats  *heartbeats
	silence     *silence
	relaying    sync.WaitGroup

	mu   sync.Mutex
	open map[*pipeline]struct{}
}

func newTransport(network network, log *writeBehind, proof *proof, commits *commits, heartbeats *heartbeats, silence *silence) *transport {
	return &transport{network: network, log: log, proof: proof, commits: commits, heartbeats: heartbeats, silence: silence, open: map[*pipeline]struct{}{}}
}

// AppendEntries sends entries to a follower and waits for its answer.
func (t *transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, request *raft.AppendEntriesRequest, response *raft.AppendEntriesResponse) error {
	heartbeat := reach(request) == 0
	if !heartbeat {
		if err := t.silence.wait(id, request.Term); err != nil {
			return err
		}
	}
	begun, stamp := time.Now(), t.proof.stamp()
	t.commits.sent(id, request)
	err := t.network.AppendEntries(id, target, request, response)
	t.silence.outcome(id, err)
	if heartbeat {
		t.instruments.heartbeat(id, time.Since(begun), err)
	}
	if err != nil {
		return err
	}
	t.answered(id, request, response, stamp)
	if !t.log.awaitDurable(lastIndex(request), &t.closed) {
		return raft.ErrTransportShutdown
	}
	return nil
}

// InstallSnapshot sends a snapshot to a follower and waits for its answer.
func (t *transport) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, request *raft.InstallSnapshotRequest, response *raft.InstallSnapshotResponse, data io.Reader) error {
	if err := t.silence.wait(id, request.Term); err != nil {
		return err
	}
	err := t.network.InstallSnapshot(id, target, request, response, data)
	t.silence.outcome(id, err)
	return err
}

// answered notes what an answer says of who leads, and of the follower's log. What it says of the first holds for a request that
// was not accepted as well: the follower's log is behind, and its term is the same.
func (t *transport) answered(by raft.ServerID, request *raft.AppendEntriesRequest, response *raft.AppendEntriesResponse, stamp uint64) {
	if response.Term == request.Term {
		t.proof.answered(by, request.Term, stamp)
	}
	if response.Success {
		t.commits.acknowledged(by, request)
	}
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
	follower  raft.ServerID
	answers   chan raft.AppendFuture
	closed    atomic.Bool
	done      chan struct{} // closed by Close
	relay     sync.WaitGroup

	mu     sync.Mutex
	stamps []uint64 // of the requests that are not answered yet, in their order
}

// AppendEntriesPipeline opens a pipeline to a follower.
func (t *transport) AppendEntriesPipeline(id raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	opened, err := t.network.AppendEntriesPipeline(id, target)
	if err != nil {
		return nil, err
	}
	p := &pipeline{AppendPipeline: opened, transport: t, follower: id, answers: make(chan raft.AppendFuture), done: make(chan struct{})}
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

// AppendEntries sends a request; its answer comes to the consumer. After an error the pipeline can't be used.
func (p *pipeline) AppendEntries(request *raft.AppendEntriesRequest, response *raft.AppendEntriesResponse) (raft.AppendFuture, error) {
	p.mu.Lock()
	p.stamps = append(p.stamps, p.transport.proof.stamp())
	p.mu.Unlock()
	p.transport.commits.sent(p.follower, request)
	return p.AppendPipeline.AppendEntries(request, response)
}

// stamp is that of the request whose answer has come.
func (p *pipeline) stamp() uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	stamp := p.stamps[0]
	p.stamps = p.stamps[1:]
	return stamp
}

// Consumer returns the channel of the answers, in the order of the requests.
func (p *pipeline) Consumer() <-chan raft.AppendFuture { return p.answers }

func (p *pipeline) relayAnswers() {
	for {
		select {
		case answer := <-p.AppendPipeline.Consumer():
			if stamp := p.stamp(); answer.Error() == nil {
				p.transport.answered(p.follower, answer.Request(), answer.Response(), stamp)
			}
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

// relay brings requests to Raft's goroutine, in the order in which they come, until the transport is closed.
func (t *transport) relay() {
	for {
		var rpc raft.RPC
		select {
		case rpc = <-t.network.Consumer():
		case <-t.heartbeats.done:
			return
		}
		select {
		case t.heartbeats.others <- rpc:
		case <-t.heartbeats.done:
			rpc.Respond(nil, raft.ErrTransportShutdown)
			return
		}
	}
}

// Consumer implements raft.Transport.
func (t *transport) Consumer() <-chan raft.RPC { return t.heartbeats.others }

// SetHeartbeatHandler implements raft.Transport.
func (t *transport) SetHeartbeatHandler(handle func(raft.RPC)) {
	t.network.SetHeartbeatHandler(t.heartbeats.guard(handle))
}
