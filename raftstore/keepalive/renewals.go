// Package keepalive takes the renewals of leases that a member is asked for to the leader, who alone counts their time.
//
// Renewals are safe for concurrent use. Their goroutines end with the life that they were given, and Wait waits for them.
package keepalive

import (
	"context"
	"errors"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/ctlplane/ctlplane/api/peerpb"
	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/failure"
	"github.com/ctlplane/ctlplane/raftstore/peers"
	"github.com/ctlplane/ctlplane/raftstore/propose"
)

// maxRenewals bounds the leases of one message between members.
const maxRenewals = 4096

// Renewals has leases renewed at the leader for the clients of this member, all of them over one stream. What
// comes while a message is on its way goes into the next one.
type Renewals struct {
	life context.Context
	dial func(context.Context, raft.ServerID) (peers.RenewalStream, error)

	mu      sync.Mutex
	stream  *renewing // to the leader of late
	closed  bool      // no stream is begun any more
	running sync.WaitGroup
}

// renewing is one stream to one leader.
//
// Invariants:
//  1. Who waits for a lease is in waiting until it is answered or the stream has ended.
//  2. A lease is on its way once at a time. Who asks while it is waits for the next time: the leader may have
//     renewed it already, and the lease may be gone since.
type renewing struct {
	route  propose.Route
	cancel context.CancelFunc
	ctx    context.Context

	mu      sync.Mutex
	ended   bool
	waiting map[int64]*renewers
	queued  []int64
	filled  chan struct{} // has a token when there may be something to send
}

// renewers wait for one lease.
type renewers struct{ sent, next []chan<- renewed }

type renewed struct {
	ttl int64
	err error
}

// NewRenewals has streams to leaders opened by dial.
func NewRenewals(life context.Context, dial func(context.Context, raft.ServerID) (peers.RenewalStream, error)) *Renewals {
	return &Renewals{life: life, dial: dial}
}

// Wait waits for the goroutines, after life has ended.
func (r *Renewals) Wait() {
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.running.Wait()
}

// Renew renews a lease at the leader. An error after which it may be asked again is failure.ErrNotLeading.
func (r *Renewals) Renew(ctx context.Context, leader propose.Route, id int64) (int64, error) {
	answer := make(chan renewed, 1)
	if !r.to(leader).add(id, answer) {
		return 0, failure.ErrNotLeading
	}
	select {
	case a := <-answer:
		return a.ttl, a.err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// to returns the stream to a leader, begun when there is none.
func (r *Renewals) to(leader propose.Route) *renewing {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stream != nil && r.stream.route == leader && !r.stream.hasEnded() {
		return r.stream
	}
	if r.stream != nil {
		r.stream.cancel()
	}
	s := &renewing{route: leader, waiting: map[int64]*renewers{}, filled: make(chan struct{}, 1)}
	s.ctx, s.cancel = context.WithCancel(r.life)
	r.stream = s
	if r.closed {
		s.end()
		return s
	}
	r.running.Go(func() { s.run(r.dial) })
	return s
}

func (s *renewing) hasEnded() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended
}

// add puts a lease into the next message. It returns false when the stream has ended.
func (s *renewing) add(id int64, answer chan<- renewed) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended {
		return false
	}
	w := s.waiting[id]
	if w == nil {
		w = &renewers{}
		s.waiting[id] = w
		s.queue(id)
	}
	w.next = append(w.next, answer)
	return true
}

// queue puts a lease into the next message. mu is held.
func (s *renewing) queue(id int64) {
	s.queued = append(s.queued, id)
	select {
	case s.filled <- struct{}{}:
	default:
	}
}

// run sends and receives until the stream breaks.
func (s *renewing) run(dial func(context.Context, raft.ServerID) (peers.RenewalStream, error)) {
	defer s.end()
	stream, err := dial(s.ctx, s.route.Leader)
	if err != nil {
		return
	}
	var sending sync.WaitGroup
	defer sending.Wait()
	defer s.cancel()
	sending.Go(func() { s.send(stream) })
	for {
		response, err := stream.Recv()
		if err != nil {
			return
		}
		for _, renewal := range response.Renewals {
			s.settle(renewal)
		}
	}
}

func (s *renewing) send(stream peers.RenewalStream) {
	for {
		select {
		case <-s.filled:
		case <-s.ctx.Done():
			return
		}
		for ids := s.take(); len(ids) > 0; ids = s.take() {
			if stream.Send(&peerpb.RenewRequest{Ids: ids}) != nil {
				s.cancel() // the receiver sees the end too
				return
			}
		}
	}
}

func (s *renewing) take() []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(len(s.queued), maxRenewals)
	ids := s.queued[:n:n]
	s.queued = s.queued[n:]
	for _, id := range ids {
		if w := s.waiting[id]; w != nil {
			w.sent, w.next = w.next, nil
		}
	}
	return ids
}

func (s *renewing) settle(renewal *peerpb.Renewal) {
	answer := renewed{ttl: renewal.Ttl}
	switch renewal.Outcome {
	case peerpb.Renewal_RENEWED:
	case peerpb.Renewal_NOT_FOUND:
		answer.err = kv.ErrLeaseNotFound
	default:
		answer.err = failure.ErrNotLeading
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.waiting[renewal.Id]
	if w == nil {
		return
	}
	for _, ch := range w.sent {
		ch <- answer // has room
	}
	w.sent = nil
	if len(w.next) > 0 {
		s.queue(renewal.Id)
	} else {
		delete(s.waiting, renewal.Id)
	}
}

// end answers whoever still waits: nothing is known of those renewals, and they may be asked for again.
func (s *renewing) end() {
	s.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	for _, w := range s.waiting {
		for _, ch := range append(w.sent, w.next...) {
			ch <- renewed{err: failure.ErrNotLeading}
		}
	}
	s.waiting = nil
}

// Encode is what the leader answers of a renewal; the stream that gets it reads it.
func Encode(id, ttl int64, err error) *peerpb.Renewal {
	r := &peerpb.Renewal{Id: id, Ttl: ttl}
	switch {
	case errors.Is(err, kv.ErrLeaseNotFound):
		r.Outcome = peerpb.Renewal_NOT_FOUND
	case err != nil:
		r.Outcome = peerpb.Renewal_ASK_AGAIN
	}
	return r
}
