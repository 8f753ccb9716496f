package kv

import "sync"

// tail is the most recent revisions with their events, for watchers to catch up from without the disk.
// Apply adds to it; it is bounded by bytes and forgets the oldest.
//
// Invariant: the revisions in it follow each other without a gap, up to last.
type tail struct {
	mu    sync.Mutex
	limit int
	bytes int
	last  int64 // the last revision that was added; that of the store at its opening before that
	// ring[start:] are the revisions, oldest first.
	ring  []revisionEvents
	start int
}

func (t *tail) add(revisions []revisionEvents) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range revisions {
		t.ring = append(t.ring, r)
		t.bytes += r.bytes
		t.last = r.revision
	}
	t.forget()
}

// grow counts bytes that were added to an event of revision, if that is still here.
func (t *tail) grow(revision int64, bytes int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if i := len(t.ring) - int(t.last-revision) - 1; i >= t.start {
		t.ring[i].bytes += bytes
		t.bytes += bytes
		t.forget()
	}
}

// forget drops the oldest revisions until the limit is held. mu is held.
func (t *tail) forget() {
	for t.bytes > t.limit && t.start < len(t.ring) {
		t.bytes -= t.ring[t.start].bytes
		t.ring[t.start] = revisionEvents{}
		t.start++
	}
	if t.start > len(t.ring)/2 && t.start > 64 {
		n := copy(t.ring, t.ring[t.start:])
		clear(t.ring[n:])
		t.ring, t.start = t.ring[:n], 0
	}
}

// from returns up to n revisions from revision on, appended to dst, and whether the tail reaches back that
// far. There are none if revision is yet to come.
func (t *tail) from(dst []revisionEvents, revision int64, n int) ([]revisionEvents, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if revision > t.last {
		return dst, true
	}
	live := t.ring[t.start:]
	skip := len(live) - int(t.last-revision) - 1
	if skip < 0 {
		return dst, false
	}
	live = live[skip:]
	return append(dst, live[:min(n, len(live))]...), true
}

func (t *tail) end() int64 {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}

func (t *tail) size() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.bytes
}
