package kv

import (
	"context"
	"slices"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// WatchEvents is what Next returns: events of one watch, in their order.
type WatchEvents struct {
	WatchID int64
	// Revision: all events of the watch up to and including it have been returned.
	Revision int64
	// Events are shared with other readers and must not be changed.
	Events []*mvccpb.Event
	// CompactRevision, if it is not 0, says that the watch is over: events that it should have seen are
	// compacted. It may be taken up again from this revision on.
	CompactRevision int64
}

// EncodedEvents is what NextEncoded returns: WatchEvents as they are sent to etcd's clients.
type EncodedEvents struct {
	WatchID, Revision, CompactRevision int64
	// Events are fields of an etcd WatchResponse, one an event, tag and length included. They are shared with other
	// readers and must not be changed; the slice is valid until the next call.
	Events [][]byte
	// Repeated tells that Events are those of the result before: watches of one range are mostly told the same.
	Repeated bool
}

// streamReader is what belongs to the goroutine that calls Next.
type streamReader struct {
	taken    []*event // what the present result is made of
	last     []*event // what the result before was made of, and whether with what it replaced
	lastPrev bool
	encoded  [][]byte
	tail     []revisionEvents

	// left are events of a turn for which there was no room in its result, as what they replaced is large.
	left   []*event
	leftOf turnResult
}

// keptResult is the room for a result that is kept for the next ones.
const keptResult = 4 * resultEvents

// rest lets go of what an idle stream need not hold.
func (r *streamReader) rest() {
	if max(cap(r.taken), cap(r.last), cap(r.encoded)) > keptResult {
		r.taken, r.last, r.encoded = nil, nil, nil
		return
	}
	clear(r.taken[:cap(r.taken)])
	clear(r.last[:cap(r.last)])
	clear(r.encoded[:cap(r.encoded)])
	r.taken, r.last, r.encoded = r.taken[:0], r.last[:0], r.encoded[:0]
}

// turnResult is what one watcher's turn came to: events, which are in reader.taken, or that it is over.
type turnResult struct {
	watcher           *watcher
	revision, compact int64
}

// Next returns the next events of one of the watches; the watches take turns. It blocks until there are
// some, or until ctx or the stream ends. A revision's events of a watch come in one result, however many
// there are. Errors are ctx's, ErrStreamClosed, ErrClosed, or a disk failure.
func (s *WatchStream) Next(ctx context.Context) (result WatchEvents, err error) {
	t, err := s.next(ctx)
	if err != nil {
		return WatchEvents{}, err
	}
	w, events := t.watcher, s.reader.taken
	defer func() {
		if err != nil {
			s.leave(t, 0)
		}
	}()
	result = WatchEvents{WatchID: w.id, Revision: t.revision, CompactRevision: t.compact}
	if len(events) > 0 {
		result.Events = make([]*mvccpb.Event, len(events))
	}
	for i, e := range events {
		if !w.prevKV {
			result.Events[i] = &e.message
			continue
		}
		with, err := s.hub.store.withPrevious(e)
		if err != nil {
			return WatchEvents{}, err
		}
		result.Events[i] = with.message
	}
	return result, nil
}

// NextEncoded is Next for who passes the events on as they are: each event is encoded once for all its watches.
func (s *WatchStream) NextEncoded(ctx context.Context) (EncodedEvents, error) {
	t, err := s.next(ctx)
	if err != nil {
		return EncodedEvents{}, err
	}
	r, w := &s.reader, t.watcher
	result := EncodedEvents{WatchID: w.id, Revision: t.revision, CompactRevision: t.compact}
	if len(r.taken) == 0 {
		return result, nil
	}
	result.Repeated = w.prevKV == r.lastPrev && slices.Equal(r.taken, r.last)
	if !result.Repeated {
		if err := s.encodeTaken(w); err != nil {
			s.leave(t, 0)
			return EncodedEvents{}, err
		}
		if n := len(r.encoded); n < len(r.taken) {
			s.leave(t, n)
			result.Revision = r.taken[n-1].kv.ModRevision
		}
		r.last, r.taken, r.lastPrev = r.taken, r.last, w.prevKV
	}
	result.Events = r.encoded
	return result, nil
}

// encodeTaken encodes what is in reader.taken, up to the end of the revision with which there is enough.
func (s *WatchStream) encodeTaken(w *watcher) error {
	r := &s.reader
	r.encoded = r.encoded[:0]
	bytes := 0
	for i, e := range r.taken {
		if bytes >= resultBytes && w.prevKV && e.kv.ModRevision != r.taken[i-1].kv.ModRevision {
			return nil
		}
		encoded, err := s.encode(w, e)
		if err != nil {
			return err
		}
		r.encoded = append(r.encoded, encoded)
		bytes += len(encoded)
	}
	return nil
}

func (s *WatchStream) encode(w *watcher, e *event) ([]byte, error) {
	if !w.prevKV {
		return e.encode(), nil
	}
	with, err := s.hub.store.withPrevious(e)
	if err != nil {
		return nil, err
	}
	return with.encoded, nil
}

// next takes the next turn that comes to something.
func (s *WatchStream) next(ctx context.Context) (turnResult, error) {
	if left, err := s.takeLeft(); left || err != nil {
		return s.reader.leftOf, err
	}
	for {
		w, err := s.turn()
		switch {
		case err != nil:
			return turnResult{}, err
		case w == nil:
			if err := s.wait(ctx); err != nil {
				return turnResult{}, err
			}
		case len(s.reader.taken) > 0:
			return turnResult{watcher: w, revision: s.reader.taken[len(s.reader.taken)-1].kv.ModRevision}, nil
		default:
			t, err := s.catchUp(ctx, w)
			if err != nil || len(s.reader.taken) > 0 || t.compact != 0 {
				return t, err
			}
		}
	}
}

// leave keeps what was taken from the n-th event on for the next call.
func (s *WatchStream) leave(t turnResult, n int) {
	r := &s.reader
	r.left, r.leftOf = append(r.left[:0], r.taken[n:]...), t
	r.taken = r.taken[:n]
}

// takeLeft takes up what was left of the turn before, unless its watch is over.
func (s *WatchStream) takeLeft() (bool, error) {
	r := &s.reader
	if len(r.left) == 0 {
		return false, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return false, s.err
	}
	r.taken = append(r.taken[:0], r.left...)
	clear(r.left)
	r.left = r.left[:0]
	return r.leftOf.watcher.state != watcherGone, nil
}

func (s *WatchStream) wait(ctx context.Context) error {
	select {
	case <-s.wake:
		return nil
	default:
	}
	s.reader.rest()
	select {
	case <-s.wake:
		return nil
	case <-s.done:
		return nil // the next turn has the error
	case <-ctx.Done():
		return ctx.Err()
	}
}

// turn takes the next watcher off the ready list, and its queued events, if it has any, into reader.taken; else it
// has to catch up, and stays off the list until that is done.
func (s *WatchStream) turn() (*watcher, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reader.taken = s.reader.taken[:0]
	for s.err == nil && len(s.ready) > 0 {
		w := s.ready[0]
		s.ready[0] = nil
		if s.ready = s.ready[1:]; len(s.ready) == 0 {
			s.ready = nil
		}
		w.ready = false
		if w.state == watcherGone {
			continue
		}
		n := resultLength(w.queue)
		s.takeQueue(w, n)
		if n > 0 && (len(w.queue) > 0 || w.state == watcherCatching) {
			s.makeReady(w)
		}
		if n > 0 || w.state == watcherCatching {
			return w, nil
		}
	}
	return nil, s.err
}

// keptQueue is the room of a queue that is kept when it is empty.
const keptQueue = 16

// takeQueue moves the first n events of w's queue to reader.taken. mu is held.
func (s *WatchStream) takeQueue(w *watcher, n int) {
	s.reader.taken = append(s.reader.taken, w.queue[:n]...)
	s.uncount(w.queue[:n])
	rest := copy(w.queue, w.queue[n:])
	clear(w.queue[rest:])
	w.queue = w.queue[:rest]
	if rest == 0 && cap(w.queue) > keptQueue {
		w.queue = nil
	}
}

// Bounds of one result. It holds at least one revision.
const (
	resultEvents = 1000
	resultBytes  = 1 << 20
)

// resultLength tells how many of the events make up one result: whole revisions.
func resultLength(events []*event) int {
	bytes, end := 0, 0
	for i, e := range events {
		if i > 0 && e.kv.ModRevision != events[i-1].kv.ModRevision {
			end = i
			if i >= resultEvents || bytes >= resultBytes {
				return end
			}
		}
		bytes += e.bytes()
	}
	return len(events)
}
