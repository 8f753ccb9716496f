package kv

import (
	"sync"

	"github.com/ctlplane/ctlplane/broken"
)

// hub hands the events that Apply publishes to the watchers that wait for them.
//
// Apply only adds to the tail and wakes the hub's goroutine, the dispatcher, which finds the watchers of
// each event and puts it on their streams' queues. Queues are bounded: a watcher whose stream's queue is
// full leaves the live ones and catches up by itself, when its owner asks for more.
//
// Invariants:
//  1. A watcher is in the index exactly as long as it is live. It was put there, by who holds mu, at a time
//     when its cursor was beyond dispatched. So the dispatcher gives it every event from its cursor on,
//     and none twice.
//  2. dispatched moves only under mu, and only over revisions whose events were given to every live
//     watcher of theirs, or have made it leave the live ones with a cursor at or below them.
//  3. Nothing here waits for a reader of a stream. mu may be held while a stream's mutex is taken, never
//     the other way round.
type hub struct {
	store *Store
	tail  tail
	wake  chan struct{}

	mu         sync.Mutex
	dispatched int64
	delivered  uint64 // events given to watchers
	index      watcherIndex
	streams    map[*WatchStream]struct{}
	stopped    bool

	batch   []revisionEvents // the dispatcher's own, as is matched
	matched []*watcher
	running sync.WaitGroup
	done    chan struct{}
}

const (
	// dispatchBatch and dispatchEvents are how many revisions, and events to their watchers, are handed out
	// before mu is released for others.
	dispatchBatch  = 64
	dispatchEvents = 4096
	// hugeRevision is the number of events from which on a revision is not put on queues: its watchers
	// catch up with it, each when its reader asks for more.
	hugeRevision = 4096
)

func newHub(s *Store, tailBytes int) *hub {
	revision := s.current.Load().Revision
	h := &hub{
		store: s, wake: make(chan struct{}, 1), done: make(chan struct{}),
		dispatched: revision, streams: map[*WatchStream]struct{}{},
	}
	h.tail.limit, h.tail.last = tailBytes, revision
	h.running.Add(1)
	go h.run()
	return h
}

// publish takes the events of a batch that is visible now. It never waits for watchers.
func (h *hub) publish(revisions []revisionEvents) {
	if len(revisions) == 0 {
		return
	}
	h.tail.add(revisions)
	select {
	case h.wake <- struct{}{}:
	default:
	}
}

// enter adds a stream. It returns false if the hub was stopped.
func (h *hub) enter(s *WatchStream) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.stopped {
		h.streams[s] = struct{}{}
	}
	return !h.stopped
}

// stop ends the dispatcher and all streams.
func (h *hub) stop() {
	close(h.done)
	h.running.Wait()
	h.mu.Lock()
	h.stopped = true
	streams := h.streams
	h.streams = map[*WatchStream]struct{}{}
	h.mu.Unlock()
	for s := range streams {
		s.end(ErrClosed)
	}
}

func (h *hub) run() {
	defer h.running.Done()
	for {
		select {
		case <-h.wake:
		case <-h.done:
			return
		}
		for h.dispatch() {
			select {
			case <-h.done:
				return
			default:
			}
		}
	}
}

// dispatch hands out some revisions. It returns whether there may be more.
func (h *hub) dispatch() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.index.size == 0 {
		h.dispatched = h.tail.end()
		return false
	}
	var ok bool
	h.batch, ok = h.tail.from(h.batch[:0], h.dispatched+1, dispatchBatch)
	if !ok {
		// So much was written that the tail has forgotten what comes next.
		h.demoteAll(h.dispatched + 1)
		h.dispatched = h.tail.end()
		return true
	}
	handed := 0
	for _, r := range h.batch {
		if broken.Sometimes(broken.DropEvent) {
			r.events = r.events[1:]
		}
		if handed >= dispatchEvents {
			break
		}
		if len(r.events) > hugeRevision {
			h.demoteAll(r.revision)
		} else {
			handed += h.deliver(r)
		}
		h.dispatched = r.revision
	}
	more := len(h.batch) == dispatchBatch || handed >= dispatchEvents
	clear(h.batch)
	return more
}

// deliver gives the events of one revision to their watchers, and returns how many it gave.
func (h *hub) deliver(r revisionEvents) int {
	handed := 0
	for _, e := range r.events {
		h.index.match(e.kv.Key, func(w *watcher) {
			if r.revision < w.start || !w.wants(e) {
				return
			}
			if len(w.pending) == 0 {
				h.matched = append(h.matched, w)
			}
			w.pending = append(w.pending, e)
		})
	}
	for i, w := range h.matched {
		if !w.stream.enqueue(w, w.pending) {
			h.demote(w, r.revision)
		}
		handed += len(w.pending)
		h.delivered += uint64(len(w.pending))
		clear(w.pending)
		w.pending, h.matched[i] = w.pending[:0], nil
	}
	h.matched = h.matched[:0]
	return handed
}

// demote makes a live watcher catch up from revision on.
func (h *hub) demote(w *watcher, revision int64) {
	if w.stream.demote(w, revision) {
		h.index.remove(w)
	}
}

func (h *hub) demoteAll(revision int64) {
	var all []*watcher
	h.index.each(func(w *watcher) { all = append(all, w) })
	for _, w := range all {
		h.demote(w, revision)
	}
}

func (h *hub) metrics(m *Metrics) {
	h.mu.Lock()
	m.WatchStreams, m.WatchEvents = len(h.streams), h.delivered
	live := h.index.size
	for s := range h.streams {
		m.Watchers += s.size()
		m.PendingEvents += s.pending()
	}
	h.mu.Unlock()
	m.SlowWatchers = m.Watchers - live
	m.WatchTailBytes = h.tail.size()
}
