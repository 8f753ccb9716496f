package kv

// ResumeWatchStream returns a stream with the watches of one that has ended with ErrClosed, each where it was: the next
// event of each is the one after the last that Next returned. It is for a store that has been replaced by one that
// is further on, as by a snapshot. The ended stream must not be used any more, unless the new one has ended with
// ErrClosed as well: then this store was closed, too, and the ended one can be resumed elsewhere.
func (s *Store) ResumeWatchStream(ended *WatchStream) *WatchStream {
	ws := s.NewWatchStream()
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	ws.mu.Lock()
	defer ws.mu.Unlock()
	if ws.err != nil {
		return ws
	}
	ended.mu.Lock()
	defer ended.mu.Unlock()
	ws.nextID = ended.nextID
	ws.queued, ws.bytes = ended.queued, ended.bytes
	ws.reader.left, ws.reader.leftOf = ended.reader.left, ended.reader.leftOf
	ws.watches, ended.watches = ended.watches, map[int64]*watcher{}
	for _, w := range ws.watches {
		w.stream, w.ready = ws, false
		ws.makeReady(w)
	}
	return ws
}

// suspend makes the watches of a stream, of which the hub was stopped, ready to go on elsewhere: from what is queued
// for them, then from what was not handed out yet. mu and the stream's are held.
func (h *hub) suspend(s *WatchStream) {
	for _, w := range s.watches {
		if w.state == watcherLive {
			h.index.remove(w)
			w.state = watcherCatching
			w.cursor = max(h.dispatched+1, w.start)
		}
	}
}
