package peers

import (
	"errors"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// Network is what Raft's network transport does for Raft.
type Network interface {
	raft.Transport
	raft.WithPreVote
	raft.WithClose
}

// Transport is Raft's network transport, with some differences.
//
// It keeps a follower's acknowledgement from Raft until what it acknowledges is durable here, too (see
// raftlog.WriteBehind). What the acknowledgement says of who leads is noted at once (see readindex.Proof).
//
// Heartbeats change nothing behind Raft's back (see Heartbeats).
//
// A vote is asked for again when the connection was broken, and by no member whose disk refuses its log (see RequestVote).
//
// What goes to a follower that does not answer waits until it does (see silence).
//
// A follower that could not write its entries is sent them again, and nothing else (see couldNotWrite). As a follower, this
// member answers so that the leader can tell (see deliver).
//
// And a pipeline of entries to a follower ends with the first answer that refuses them, and all pipelines can be closed at once. Raft
// waits for the goroutine that fills a pipeline, also at its own end, and that one may be waiting for room in a pipeline which nobody
// empties any more: only closing it helps.
type Transport struct {
	Network
	options  TransportOptions
	silence  *silence
	closed   atomic.Bool
	relaying sync.WaitGroup

	mu   sync.Mutex
	open map[*pipeline]struct{}
}

// TransportOptions are all required, but for Hangs, OnHeartbeat and OnFailure.
type TransportOptions struct {
	Network    Network
	Log        durableLog
	Lead       leadProof
	Commits    *Commits
	Heartbeats *Heartbeats
	// Sends tells whether requests of a term are still sent to a follower: this member leads in it, and has the follower.
	Sends func(to raft.ServerID, term uint64) bool
	// Hangs tells whether the disk of the log hangs; nil: it never does.
	Hangs func() bool
	// OnHeartbeat is told of each heartbeat, and how long its answer took; nil: nobody is.
	OnHeartbeat func(to raft.ServerID, took time.Duration, err error)
	// OnFailure is told of each request that was sent and not answered, heartbeats included; nil: nobody is.
	OnFailure func(to raft.ServerID)
}

// durableLog tells what of the log is durable here.
type durableLog interface {
	// AwaitDurable returns true once everything up to index is durable, false if ended returns true before that. Wake has it
	// ask ended.
	AwaitDurable(index uint64, ended func() bool) bool
	Wake()
	// Settle returns once everything in the log is durable, or the error if the disk refuses it. Refusals is how often it has
	// refused entries, or to delete some. LastIndex is the log's last entry.
	Settle() error
	Refusals() uint64
	LastIndex() (uint64, error)
}

// leadProof is told which voters have answered requests.
type leadProof interface {
	// Stamp is taken before a request begins, for Answered.
	Stamp() uint64
	Answered(by raft.ServerID, term, stamp uint64)
}

// NewTransport brings nothing to Raft before Start.
func NewTransport(options TransportOptions) *Transport {
	return &Transport{Network: options.Network, options: options, silence: newSilence(options.Sends), open: map[*pipeline]struct{}{}}
}

// Start brings requests to Raft from now on, until the heartbeats are closed.
func (t *Transport) Start() { t.relaying.Go(t.relay) }

// Wake has requests that wait look whether they are still to be answered: this member may lead no more.
func (t *Transport) Wake() { t.options.Log.Wake() }

// Wait waits for that.
func (t *Transport) Wait() { t.relaying.Wait() }

// AppendEntries sends entries to a follower and waits for its answer.
func (t *Transport) AppendEntries(id raft.ServerID, target raft.ServerAddress, request *raft.AppendEntriesRequest, response *raft.AppendEntriesResponse) error {
	heartbeat := reach(request) == 0
	if !heartbeat {
		if err := t.silence.wait(id, request.Term); err != nil {
			return err
		}
	}
	over := func() bool { return t.closed.Load() || !t.options.Sends(id, request.Term) }
	for pause := firstWritePause; ; pause = min(2*pause, lastWritePause) {
		*response = raft.AppendEntriesResponse{}
		if err := t.appendEntries(id, target, request, response, heartbeat); err != nil {
			return err
		}
		if !couldNotWrite(request, response) {
			break
		}
		if !sleep(pause, over) {
			return errEnded
		}
	}
	if !heartbeat && !t.options.Log.AwaitDurable(lastIndex(request), over) {
		return errEnded
	}
	return nil
}

// sleep returns true after a pause, and false soon after over returns true before that.
func sleep(pause time.Duration, over func() bool) bool {
	for until := time.Now().Add(pause); !over(); {
		left := time.Until(until)
		if left <= 0 {
			return true
		}
		time.Sleep(min(left, silenceLook))
	}
	return false
}

func (t *Transport) appendEntries(id raft.ServerID, target raft.ServerAddress, request *raft.AppendEntriesRequest, response *raft.AppendEntriesResponse, heartbeat bool) error {
	begun, stamp := time.Now(), t.options.Lead.Stamp()
	t.options.Commits.sent(id, request)
	err := t.ended(id, t.Network.AppendEntries(id, target, request, response))
	if t.silence.outcome(id, err) {
		t.options.Commits.feeds(id, request.Term, 0)
	}
	if heartbeat && t.options.OnHeartbeat != nil {
		t.options.OnHeartbeat(id, time.Since(begun), err)
	}
	if err == nil {
		t.answered(id, request, response, stamp)
	}
	return err
}

// firstWritePause and lastWritePause are the least and the most time before a follower that could not write is sent the same again.
const (
	firstWritePause = 20 * time.Millisecond
	lastWritePause  = time.Second
)

var errEnded = errors.New("this member sends nothing to the follower any more")

// couldNotWrite tells whether a follower has refused entries for another reason than its log and its term, as on a full disk: a
// follower that lacks what is before them says NoRetryBackoff (see deliver).
// Raft would take that for a gap in the follower's log: it would send older entries with every attempt, and once there are none the
// whole state, for which such a disk has no room either. And it would wait for up to ten seconds between them (see silence).
func couldNotWrite(request *raft.AppendEntriesRequest, response *raft.AppendEntriesResponse) bool {
	return len(request.Entries) > 0 && !response.Success && !response.NoRetryBackoff && response.Term == request.Term
}

// InstallSnapshot sends a snapshot to a follower and waits for its answer.
func (t *Transport) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, request *raft.InstallSnapshotRequest, response *raft.InstallSnapshotResponse, data io.Reader) error {
	if err := t.silence.wait(id, request.Term); err != nil {
		return err
	}
	t.options.Commits.feeds(id, request.Term, request.LastLogIndex)
	err := t.ended(id, t.Network.InstallSnapshot(id, target, request, response, data))
	t.silence.outcome(id, err)
	if err == nil && response.Success {
		t.options.Commits.feeds(id, request.Term, request.LastLogIndex) // heartbeats may have failed meanwhile
	} else {
		t.options.Commits.feeds(id, request.Term, 0)
	}
	return err
}

// ended is how a request to another member has ended, which it returns.
func (t *Transport) ended(to raft.ServerID, err error) error {
	if err != nil && t.options.OnFailure != nil {
		t.options.OnFailure(to)
	}
	return err
}

// answered notes what an answer says of who leads, and of the follower's log. What it says of the first holds for a request that
// was not accepted as well: the follower's log is behind, and its term is the same.
func (t *Transport) answered(by raft.ServerID, request *raft.AppendEntriesRequest, response *raft.AppendEntriesResponse, stamp uint64) {
	if response.Term == request.Term {
		t.options.Lead.Answered(by, request.Term, stamp)
	}
	if response.Success {
		t.options.Commits.acknowledged(by, request)
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
	transport *Transport
	follower  raft.ServerID
	answers   chan raft.AppendFuture
	closed    atomic.Bool
	done      chan struct{} // closed by Close
	relay     sync.WaitGroup

	mu     sync.Mutex
	stamps []uint64 // of the requests that are not answered yet, in their order
}

// AppendEntriesPipeline opens a pipeline to a follower.
func (t *Transport) AppendEntriesPipeline(id raft.ServerID, target raft.ServerAddress) (raft.AppendPipeline, error) {
	opened, err := t.Network.AppendEntriesPipeline(id, target)
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
	p.stamps = append(p.stamps, p.transport.options.Lead.Stamp())
	p.mu.Unlock()
	p.transport.options.Commits.sent(p.follower, request)
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
			if stamp := p.stamp(); p.transport.ended(p.follower, answer.Error()) == nil {
				p.transport.answered(p.follower, answer.Request(), answer.Response(), stamp)
			}
			if !p.transport.options.Log.AwaitDurable(lastIndex(answer.Request()), p.over(answer.Request().Term)) {
				// Raft may be waiting for room in the pipeline, and its heartbeats last for as long.
				_ = p.AppendPipeline.Close()
				return
			}
			select {
			case p.answers <- answer:
			case <-p.done:
				return
			}
			if !answer.Response().Success {
				// Raft takes no more answers, and may be waiting for room that only they make.
				_ = p.AppendPipeline.Close()
				return
			}
		case <-p.done:
			return
		}
	}
}

// over tells whether answers to requests of a term are of no use any more.
func (p *pipeline) over(term uint64) func() bool {
	return func() bool { return p.closed.Load() || !p.transport.options.Sends(p.follower, term) }
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
		p.transport.options.Log.Wake()
	}
	err := p.AppendPipeline.Close()
	p.relay.Wait()
	return err
}

// ClosePipelines closes all pipelines, those that are yet to be opened included.
func (t *Transport) ClosePipelines() {
	t.closed.Store(true)
	t.options.Log.Wake()
	t.mu.Lock()
	defer t.mu.Unlock()
	for p := range t.open {
		_ = p.end()
	}
}

// relay brings requests to Raft's goroutine, in the order in which they come, until the transport is closed.
func (t *Transport) relay() {
	for {
		select {
		case rpc := <-t.Network.Consumer():
			t.deliver(rpc)
		case <-t.options.Heartbeats.done:
			return
		}
	}
}

// Consumer implements raft.Transport.
func (t *Transport) Consumer() <-chan raft.RPC { return t.options.Heartbeats.others }

// SetHeartbeatHandler implements raft.Transport.
func (t *Transport) SetHeartbeatHandler(handle func(raft.RPC)) {
	t.Network.SetHeartbeatHandler(t.options.Heartbeats.guard(handle))
}
