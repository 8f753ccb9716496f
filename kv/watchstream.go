package kv

import "sync"

// WatchRequest says what to watch.
type WatchRequest struct {
	// ID is the watch's number on its stream; 0 lets the stream choose, from 0 on.
	ID int64
	// Key and RangeEnd are as in a range request. An empty Key is the first possible one, "\0".
	Key, RangeEnd []byte
	// StartRevision is the first revision to see events of; 0 is the one after the present one. It may lie
	// in the future.
	StartRevision int64
	// PrevKV adds to each event what it replaced, as far as that is not compacted yet.
	PrevKV bool
	// NoPut and NoDelete leave events of a kind out.
	NoPut, NoDelete bool
}

// WatchStream multiplexes watches. Nothing is read or kept for a watch beyond a bounded queue until Next
// asks for it. Next and NextEncoded are called by one goroutine at a time; the rest may be called by any.
//
// Invariants:
//  1. A watcher is in the ready list exactly if it has queued events or has to catch up.
//  2. What is queued for a watcher lies before its cursor: it is returned before the watcher catches up.
//  3. The queues, and all results, hold whole revisions.
type WatchStream struct {
	hub  *hub
	wake chan struct{} // has an element when the ready list may have become non-empty
	done chan struct{} // closed with the stream

	mu      sync.Mutex
	err     error // why the stream is closed
	watches map[int64]*watcher
	nextID  int64
	ready   []*watcher
	queued  int // events in all queues, and their bytes
	bytes   int

	reader streamReader
}

// Bounds of one stream's queues. A single revision may go beyond them.
const (
	streamQueueEvents = 4096
	streamQueueBytes  = 4 << 20
)

// NewWatchStream returns a stream without watches. The caller closes it; on a closed store it is closed
// from the start.
func (s *Store) NewWatchStream() *WatchStream {
	ws := &WatchStream{
		hub: s.hub, wake: make(chan struct{}, 1), done: make(chan struct{}), watches: map[int64]*watcher{},
	}
	if !s.hub.enter(ws) {
		ws.end(ErrClosed)
	}
	return ws
}

// Watch adds a watch and returns its id. The errors are ErrWatchExists, ErrInvalidRange, ErrStreamClosed and
// ErrClosed. A start revision that is compacted is no error here: Next says so.
func (s *WatchStream) Watch(r WatchRequest) (int64, error) {
	key := r.Key
	if len(key) == 0 {
		key = []byte{0}
	}
	w := &watcher{
		stream: s, keys: newKeyRange(key, r.RangeEnd),
		prevKV: r.PrevKV, noPut: r.NoPut, noDelete: r.NoDelete,
	}
	if w.keys.empty() || r.StartRevision < 0 {
		return 0, ErrInvalidRange
	}
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.register(w, r.ID); err != nil {
		return 0, err
	}
	w.start = r.StartRevision
	if w.start == 0 {
		w.start = h.store.Revision() + 1
	}
	w.cursor = w.start
	if w.start > h.dispatched && w.start >= h.store.CompactRevision() {
		w.state, w.begun = watcherLive, true
		h.index.insert(w)
	} else {
		s.makeReady(w)
	}
	return w.id, nil
}

func (s *WatchStream) register(w *watcher, id int64) error {
	if s.err != nil {
		return s.err
	}
	if _, taken := s.watches[id]; taken && id != 0 {
		return ErrWatchExists
	}
	if id == 0 {
		for s.watches[s.nextID] != nil {
			s.nextID++
		}
		id = s.nextID
		s.nextID++
	}
	w.id = id
	s.watches[id] = w
	return nil
}

// Cancel ends a watch: Next returns nothing of it any more. The errors are ErrWatchNotFound and those of a
// closed stream.
func (s *WatchStream) Cancel(id int64) error {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	w, ok := s.watches[id]
	if !ok {
		return ErrWatchNotFound
	}
	s.drop(w)
	return nil
}

// drop takes a watcher off. hub.mu and mu are held.
func (s *WatchStream) drop(w *watcher) {
	if w.state == watcherLive {
		s.hub.index.remove(w)
	}
	w.state = watcherGone
	s.uncount(w.queue)
	w.queue = nil
	delete(s.watches, w.id)
}

// Progress returns a revision up to which every event of every watch of the stream was returned by Next.
// synced tells whether there is one: it is false while a watch has something to return or to catch up
// with, or starts in the future. Call it from the goroutine that calls Next, or what Next has returned may
// not have been passed on yet.
func (s *WatchStream) Progress() (revision int64, synced bool) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	revision = s.hub.dispatched
	if s.err != nil {
		return revision, false
	}
	for _, w := range s.watches {
		if !s.synced(w, revision) {
			return revision, false
		}
	}
	return revision, true
}

// ProgressOf is Progress of one watch.
func (s *WatchStream) ProgressOf(id int64) (revision int64, synced bool) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	w := s.watches[id]
	revision = s.hub.dispatched
	return revision, w != nil && s.err == nil && s.synced(w, revision)
}

// synced tells whether Next has returned all that w wants up to revision, which is what was dispatched. A watch
// that starts right after it is one "from now": it has seen all there is. mu is held.
func (s *WatchStream) synced(w *watcher, revision int64) bool {
	return w.state == watcherLive && len(w.queue) == 0 && w.start <= revision+1 &&
		(len(s.reader.left) == 0 || s.reader.leftOf.watcher != w)
}

// Close ends all watches and makes Next return ErrStreamClosed.
func (s *WatchStream) Close() {
	s.hub.mu.Lock()
	delete(s.hub.streams, s)
	s.hub.mu.Unlock()
	s.end(ErrStreamClosed)
}

// end ends the stream. With ErrClosed it is the store that ends: the watches stay, for another store to resume.
func (s *WatchStream) end(err error) {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return
	}
	s.err = err
	if err == ErrClosed {
		s.hub.suspend(s)
	} else {
		for _, w := range s.watches {
			s.drop(w)
		}
	}
	s.ready = nil
	close(s.done)
}

// Err is why the stream has ended: ErrStreamClosed, or ErrClosed; nil while it lives.
func (s *WatchStream) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *WatchStream) size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.watches)
}

// pending is how many events wait to be taken.
func (s *WatchStream) pending() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queued
}

// enqueue puts events of one revision that w wants on its queue, all or none: it returns false if there is
// no room.
func (s *WatchStream) enqueue(w *watcher, events []*event) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.queued >= streamQueueEvents || s.bytes >= streamQueueBytes {
		return false
	}
	w.queue = append(w.queue, events...)
	s.queued += len(events)
	for _, e := range events {
		s.bytes += e.bytes()
	}
	s.makeReady(w)
	return true
}

// demote makes w catch up from revision on. It returns false if w is not live.
func (s *WatchStream) demote(w *watcher, revision int64) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.state != watcherLive {
		return false
	}
	w.state = watcherCatching
	w.cursor = max(revision, w.start)
	s.makeReady(w)
	return true
}

// makeReady puts w at the end of the ready list. mu is held.
func (s *WatchStream) makeReady(w *watcher) {
	if w.ready {
		return
	}
	w.ready = true
	s.ready = append(s.ready, w)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// uncount takes events off what is counted as queued. mu is held.
func (s *WatchStream) uncount(events []*event) {
	s.queued -= len(events)
	for _, e := range events {
		s.bytes -= e.bytes()
	}
}
