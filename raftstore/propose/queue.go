package propose

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/failure"
)

// Proposal is a command that waits to be proposed, or to be applied.
type Proposal struct {
	// Context is whose wait it is: a command is not proposed once it has ended.
	Context context.Context
	Command kv.Command
	Encoded []byte
	// Done gets the outcome, exactly once. It must not block.
	Done func(kv.Result, error)
	// Expires is when it no longer waits for a leader.
	Expires time.Time
	// Here is set on one that another member forwarded: it is proposed here, or answered failure.ErrNotLeading.
	Here bool

	sequence uint64 // its position in the queue
}

func (p *Proposal) fail(err error) { p.Done(kv.Result{}, err) }

// queue holds what waits to be proposed, in order, within bounds. Safe for concurrent use.
type queue struct {
	maxBytes int
	filled   chan struct{} // has a token when there may be something to take

	mu        sync.Mutex
	maxLength int
	waiting   []*Proposal
	bytes     int
	sequence  uint64
	closed    bool
}

func newQueue(maxBytes, maxLength int) *queue {
	return &queue{maxBytes: maxBytes, maxLength: maxLength, filled: make(chan struct{}, 1)}
}

// add puts a proposal at the end.
func (q *queue) add(p *Proposal) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return failure.ErrClosed
	case !q.hasRoom(1, len(p.Encoded)):
		return failure.ErrTooManyRequests
	}
	q.sequence++
	p.sequence = q.sequence
	q.waiting = append(q.waiting, p)
	q.bytes += len(p.Encoded)
	q.wake()
	return nil
}

// addAll puts proposals at the end that shall go into one group, if it has room for them.
func (q *queue) addAll(proposals []*Proposal) error {
	q.mu.Lock()
	defer q.mu.Unlock()
	bytes := 0
	for _, p := range proposals {
		bytes += len(p.Encoded)
	}
	switch {
	case q.closed:
		return failure.ErrClosed
	case !q.hasRoom(len(proposals), bytes):
		return failure.ErrTooManyRequests
	}
	for _, p := range proposals {
		q.sequence++
		p.sequence = q.sequence
	}
	q.waiting = append(q.waiting, proposals...)
	q.bytes += bytes
	q.wake()
	return nil
}

// hasRoom tells whether the queue takes so much more. What is larger than all its room it takes alone. mu is held.
func (q *queue) hasRoom(proposals, bytes int) bool {
	return len(q.waiting)+proposals <= q.maxLength && (len(q.waiting) == 0 || q.bytes+bytes <= q.maxBytes)
}

// putBack returns proposals that were taken but not proposed to their positions.
func (q *queue) putBack(proposals []*Proposal) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		for _, p := range proposals {
			p.fail(failure.ErrClosed)
		}
		return
	}
	q.waiting = append(q.waiting, proposals...)
	slices.SortFunc(q.waiting, func(a, b *Proposal) int { return int(int64(a.sequence) - int64(b.sequence)) })
	for _, p := range proposals {
		q.bytes += len(p.Encoded)
	}
	q.wake()
}

// take removes proposals from the front: at least one if there is any, then as many as fit.
func (q *queue) take(maxBytes int) []*Proposal {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, bytes := 0, 0
	for n < len(q.waiting) && (n == 0 || bytes+len(q.waiting[n].Encoded) <= maxBytes) {
		bytes += len(q.waiting[n].Encoded)
		n++
	}
	return q.remove(n, bytes)
}

func (q *queue) remove(n, bytes int) []*Proposal {
	taken := q.waiting[:n:n]
	q.waiting = q.waiting[n:]
	q.bytes -= bytes
	if len(q.waiting) > 0 {
		q.wake()
	}
	return taken
}

// drop removes the proposals that matches picks.
func (q *queue) drop(matches func(*Proposal) bool) []*Proposal {
	q.mu.Lock()
	defer q.mu.Unlock()
	var dropped []*Proposal
	kept := make([]*Proposal, 0, len(q.waiting))
	for _, p := range q.waiting {
		if matches(p) {
			dropped = append(dropped, p)
			q.bytes -= len(p.Encoded)
		} else {
			kept = append(kept, p)
		}
	}
	q.waiting = kept
	return dropped
}

// limit changes how many proposals may wait.
func (q *queue) limit(length int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.maxLength = length
}

// close refuses what comes from now on, and returns what was waiting.
func (q *queue) close() []*Proposal {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	return q.remove(len(q.waiting), q.bytes)
}

func (q *queue) size() (length, bytes int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.waiting), q.bytes
}

func (q *queue) wake() {
	select {
	case q.filled <- struct{}{}:
	default:
	}
}
