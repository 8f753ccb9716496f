package wal

import "fmt"

// DeleteRange deletes the entries from min to max, both included, of which the log may have none. They
// must reach to one end of the log or to both: a log has no holes.
//
// Entries deleted at the old end are gone from disk once their whole segment is; until then they show
// again after a restart. Raft does not mind: they are entries that a snapshot covers, so they are
// committed, no other entries can have their places, and the next snapshot deletes them again.
func (l *Log) DeleteRange(min, max uint64) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.failed != nil {
		return l.failed
	}
	first, last := l.bounds()
	switch {
	case last == 0 || min > max || max < first || min > last:
		return nil
	case min <= first && max >= last:
		return l.deleteFrom(0)
	case min <= first:
		return l.deleteUntil(max + 1)
	case max >= last:
		return l.deleteFrom(min)
	}
	return fmt.Errorf("entries %d to %d can't be deleted out of the midst of %d to %d", min, max, first, last)
}

// deleteUntil deletes entries at the old end, so that first is the log's first one. Segments are deleted
// from the oldest on, each durably before the next, so that a crash leaves no gap.
func (l *Log) deleteUntil(first uint64) error {
	l.mu.Lock()
	l.first = first
	l.mu.Unlock()
	for len(l.segments) > 1 && l.segments[1].base <= first {
		oldest := l.segments[0]
		if err := l.remove(oldest); err != nil {
			return err
		}
		l.mu.Lock()
		l.segments = l.segments[1:]
		l.mu.Unlock()
		if err := oldest.file.Close(); err != nil {
			return err
		}
	}
	return nil
}

// deleteFrom deletes the entries from index on. Segments are deleted from the newest on, each durably
// before the next, and then the one that has the entry before index is cut: a crash at any point leaves
// a log that ends somewhere between the old end and the new one.
func (l *Log) deleteFrom(index uint64) error {
	for len(l.segments) > 0 && l.segments[len(l.segments)-1].base >= index {
		newest := l.segments[len(l.segments)-1]
		if err := l.remove(newest); err != nil {
			return err
		}
		l.mu.Lock()
		l.segments = l.segments[:len(l.segments)-1]
		l.mu.Unlock()
		if err := newest.file.Close(); err != nil {
			return err
		}
	}
	if len(l.segments) == 0 {
		return nil
	}
	s := l.segments[len(l.segments)-1]
	l.mu.Lock()
	if index < s.next() {
		kept := index - s.base
		s.end, s.offsets = s.offsets[kept], s.offsets[:kept]
	}
	l.mu.Unlock()
	if err := l.cut(s); err != nil {
		return l.fail(fmt.Errorf("cut %s: %w", s.path, err))
	}
	return nil
}
