package kv

import (
	"bytes"
	"context"

	"github.com/cockroachdb/pebble/v2"

	"github.com/ctlplane/ctlplane/kv/layout"
)

// Bounds of one step of catching up, so that the watches of a stream get their turn. A revision is looked at whole,
// however large it is: a part of one can't be told from all of it, and who comes back after it would miss the rest.
const (
	catchUpChanges   = 20_000
	catchUpRevisions = 1024
)

// catchUp goes one step on from w's cursor, and makes w live once it has reached the present. The events are in
// reader.taken.
func (s *WatchStream) catchUp(ctx context.Context, w *watcher) (turnResult, error) {
	if err := ctx.Err(); err != nil {
		s.again(w)
		return turnResult{}, err
	}
	g := &gathering{w: w, reader: &s.reader}
	// Nobody else moves the cursor while the watcher is catching up.
	next, compacted, err := s.hub.store.gather(g, w.cursor)
	if err != nil {
		s.again(w)
		return turnResult{}, err
	}
	if compacted != 0 {
		return s.compacted(w, compacted), nil
	}
	if !s.advance(w, next) {
		s.reader.taken = s.reader.taken[:0]
	}
	return turnResult{watcher: w, revision: next - 1}, nil
}

// again puts w back on the ready list after a failed step.
func (s *WatchStream) again(w *watcher) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.state == watcherCatching {
		s.makeReady(w)
	}
}

// advance moves w's cursor to next, and makes w live if that is beyond what the dispatcher handed out. It
// returns false if w was cancelled.
func (s *WatchStream) advance(w *watcher, next int64) bool {
	h := s.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.state != watcherCatching {
		return false
	}
	w.cursor, w.begun = next, true
	if next > h.dispatched {
		w.state, w.start = watcherLive, next
		h.index.insert(w)
	} else {
		s.makeReady(w)
	}
	return true
}

// compacted ends w because what it has to see next is gone.
func (s *WatchStream) compacted(w *watcher, revision int64) turnResult {
	s.hub.mu.Lock()
	defer s.hub.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.state == watcherGone {
		return turnResult{}
	}
	s.drop(w)
	return turnResult{watcher: w, revision: s.hub.store.Revision(), compact: revision}
}

// gathering collects the events of a step.
type gathering struct {
	w      *watcher
	reader *streamReader
	bytes  int
}

func (g *gathering) add(e *event) {
	if g.w.wants(e) {
		g.reader.taken = append(g.reader.taken, e)
		g.bytes += e.bytes()
	}
}

// enough tells whether to stop before the next revision.
func (g *gathering) enough() bool {
	return len(g.reader.taken) >= resultEvents || g.bytes >= resultBytes
}

// gather collects what g's watcher wants of some revisions from c on, and tells where to go on. compacted is not 0
// if the history at c is gone. The watch's first step is refused below the compaction revision even if the
// events are still in memory, so that clients see the same whatever a member remembers.
func (s *Store) gather(g *gathering, c int64) (next, compacted int64, err error) {
	compact := s.CompactRevision()
	if !g.w.begun && c < compact {
		return c, compact, nil
	}
	revisions, ok := s.hub.tail.from(g.reader.tail[:0], c, catchUpRevisions)
	if ok {
		g.reader.tail = revisions
		next = g.fromTail(revisions, c)
		clear(revisions)
		return next, 0, nil
	}
	if g.w.keys.point && c > compact {
		next, ok, err := s.fromVersions(g, c)
		if ok || err != nil {
			return next, 0, err
		}
	}
	return s.fromHistory(g, c)
}

// fromTail gathers from revisions, of which the first is that of c.
func (g *gathering) fromTail(revisions []revisionEvents, c int64) int64 {
	looked := 0
	for _, r := range revisions {
		if looked > 0 && (g.enough() || looked >= catchUpChanges) {
			return c
		}
		for _, e := range r.events {
			g.add(e)
		}
		looked += len(r.events)
		c = r.revision + 1
	}
	return c
}

// fromHistory gathers from the history section of the database.
func (s *Store) fromHistory(g *gathering, c int64) (next, compacted int64, err error) {
	release, err := s.use()
	if err != nil {
		return c, 0, err
	}
	defer release()
	last := s.Revision()
	history, err := layout.NewHistoryIterator(s.db, c, last)
	if err != nil {
		return c, 0, err
	}
	defer history.Close()
	lower, upper := layout.SectionBounds(layout.SectionVersion)
	versions, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return c, 0, err
	}
	defer versions.Close()
	if at := s.CompactRevision(); c < at {
		return c, at, nil
	}
	return g.scan(history, versions, c, last)
}

// scan walks the history to the last revision, or until enough is gathered.
func (g *gathering) scan(history *layout.HistoryIterator, versions *pebble.Iterator, c, last int64) (next, compacted int64, err error) {
	looked, rev := 0, int64(0)
	for ok := history.First(); ok; ok = history.Next() {
		if history.Rev != rev && (g.enough() || looked >= catchUpChanges) {
			return history.Rev, 0, nil
		}
		looked, rev = looked+1, history.Rev
		if !g.w.keys.contains(history.Change.Key) {
			continue
		}
		e, err := readEvent(versions, rev, history.Change)
		if err != nil {
			return c, 0, err
		}
		g.add(e)
	}
	return last + 1, 0, history.Err
}

// readEvent makes the event of a change of revision rev.
func readEvent(versions *pebble.Iterator, rev int64, ch layout.Change) (*event, error) {
	if ch.Deleted {
		return loneEvent(ch.Key, rev, ch.Prev, nil)
	}
	k := layout.AppendVersionKey(make([]byte, 0, layout.VersionKeyLen(ch.Key)), ch.Key, rev, layout.MarkValue)
	if !versions.SeekPrefixGE(k) || !bytes.Equal(versions.Key(), k) {
		if err := versions.Error(); err != nil {
			return nil, err
		}
		return nil, layout.ErrCorruptRecord
	}
	record, err := versions.ValueAndErr()
	if err != nil {
		return nil, err
	}
	return loneEvent(ch.Key, rev, ch.Prev, record)
}

// loneEvent makes an event of what is on the disk: a put of a record, or a delete if that is nil. prev is the
// revision of what it replaced.
func loneEvent(key []byte, rev, prev int64, record []byte) (*event, error) {
	e := newEvent(record == nil, prev)
	e.alone = true
	e.kv.Key, e.kv.ModRevision = bytes.Clone(key), rev
	if record == nil {
		return e, nil
	}
	h, value, err := layout.DecodeRecord(key, rev, record)
	if err != nil {
		return nil, err
	}
	e.kv.CreateRevision, e.kv.Version, e.kv.Lease = h.Create, h.Version, h.Lease
	if len(value) > 0 {
		e.kv.Value = bytes.Clone(value)
	}
	return e, nil
}
