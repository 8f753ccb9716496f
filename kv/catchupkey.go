package kv

import (
	"github.com/cockroachdb/pebble/v2"

	"github.com/ctlplane/ctlplane/kv/layout"
)

// fromVersions gathers the events of a single key from its versions, so that what other keys did costs nothing: for a
// watcher that is further behind than the recent events in memory. ok
// is false, and nothing gathered, if a compaction has come to c meanwhile.
//
// Above the compaction revision every version and tombstone of a key is there, and each is an event. At the
// compaction revision itself a tombstone may be gone: there only the history knows of it.
func (s *Store) fromVersions(g *gathering, c int64) (next int64, ok bool, err error) {
	release, err := s.use()
	if err != nil {
		return c, false, err
	}
	defer release()
	last := s.Revision()
	lower, upper := g.w.keys.bounds()
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
	if err != nil {
		return c, false, err
	}
	defer it.Close()
	if c <= s.CompactRevision() {
		return c, false, nil
	}
	next, err = g.versions(it, c, last)
	return next, err == nil, err
}

// versions goes through the versions that it holds from c to last, from old to new: backwards, as they are stored.
func (g *gathering) versions(it *pebble.Iterator, c, last int64) (next int64, err error) {
	var prev, rev int64
	valid := it.SeekGE(layout.AppendVersionKey(nil, g.w.keys.lo, c-1, layout.MarkTombstone))
	if valid { // the last version before c
		_, before, tombstone, ok := layout.DecodeVersionKey(it.Key())
		if !ok {
			return c, layout.ErrCorruptRecord
		}
		if !tombstone {
			prev = before
		}
		valid = it.Prev()
	} else {
		valid = it.Last()
	}
	for ; valid; valid = it.Prev() {
		key, at, tombstone, ok := layout.DecodeVersionKey(it.Key())
		if !ok {
			return c, layout.ErrCorruptRecord
		}
		if at > last {
			break
		}
		if at != rev && g.enough() {
			return at, nil
		}
		rev = at
		var record []byte
		if !tombstone {
			var err error
			if record, err = it.ValueAndErr(); err != nil {
				return c, err
			}
		}
		// A first version where there was one before: the same transaction deleted the key, and put it again.
		if again, err := startsAgain(key, at, prev, record); err != nil {
			return c, err
		} else if again {
			e, err := loneEvent(key, at, prev, nil)
			if err != nil {
				return c, err
			}
			g.add(e)
			prev = 0
		}
		e, err := loneEvent(key, at, prev, record)
		if err != nil {
			return c, err
		}
		g.add(e)
		if prev = at; tombstone {
			prev = 0
		}
	}
	return last + 1, it.Error()
}

// startsAgain tells whether a record is that of a new life of a key whose last one, of version prev, has no tombstone.
func startsAgain(key []byte, at, prev int64, record []byte) (bool, error) {
	if prev == 0 || record == nil {
		return false, nil
	}
	h, _, err := layout.DecodeRecord(key, at, record)
	return h.Version == 1, err
}
