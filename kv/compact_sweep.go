package kv

import (
	"bytes"
	"math"

	"github.com/cockroachdb/pebble/v2"

	"github.com/ctlplane/ctlplane/kv/layout"
)

// sweepFrom is which part of what stays has to go for a sweep to pay.
const sweepFrom = 4

// sweepChunk is how many versions are looked at in one step.
const sweepChunk = 16 * compactionChunk

// sweep goes through the versions in the order of the keys, and removes what a walk to the target would remove. A walk's removals
// come in no order: each memory table of them covers all the keys, and the database rewrites all of its files for each. Those of
// a sweep lie side by side, so each file is rewritten once, but it has to look at every version.
//
// Invariants:
//  1. and 2. are those of walk.
//  3. The history is as it was until the sweep is done. One that is cut off is begun anew, and finds what is left.
type sweep struct {
	compactor *compactor
	target    int64
	batch     *pebble.Batch // what the step removes
	next      []byte        // the storage key with which the next step begins; nil: it is done

	// Of the key that the sweep is at:
	key       []byte
	superior  bool   // a version was seen that hides those that follow from readers at the target
	tombstone []byte // the storage key of that version, if it is to be removed once those are
	removed   int    // by the step
}

// sweepPays tells whether a sweep is less work than a walk: the walk is in proportion to the versions that go, the sweep to those
// that stay as well, those of the history after the target included. It takes as long as a small part of either.
func (c *compactor) sweepPays(target int64) (bool, error) {
	h, err := layout.NewHistoryIterator(c.store.db, c.progress(), math.MaxInt64)
	if err != nil {
		return false, err
	}
	defer h.Close()
	var goes int64
	stays := c.store.current.Load().Keys
	h.First()
	for seen := 1; h.Valid && (h.Rev <= target || stays <= goes*sweepFrom); h.Next() {
		switch {
		case h.Rev > target:
			stays++
		case h.Change.Prev != 0:
			goes++
		}
		if seen++; seen%compactionChunk == 0 && c.ctx.Err() != nil {
			return false, c.ctx.Err()
		}
	}
	return goes > 0 && stays <= goes*sweepFrom, h.Err
}

// sweepTo removes everything below target.
func (c *compactor) sweepTo(target int64) error {
	lower, _ := layout.SectionBounds(layout.SectionVersion)
	s := &sweep{compactor: c, target: target, next: lower, batch: c.store.db.NewBatch()}
	defer s.batch.Close()
	for s.next != nil {
		if err := s.step(); err != nil {
			return err
		}
		if err := c.flushPart(s.batch); err != nil {
			return err
		}
	}
	return c.reach(s.batch, target)
}

// step adds the removals of some versions to the batch.
func (s *sweep) step() error {
	_, upper := layout.SectionBounds(layout.SectionVersion)
	it, err := s.compactor.store.db.NewIter(&pebble.IterOptions{LowerBound: s.next, UpperBound: upper})
	if err != nil {
		return err
	}
	defer it.Close()
	s.removed = 0
	looked := 0
	for ok := it.First(); ok; ok = it.Next() {
		if looked++; looked > sweepChunk || s.removed >= compactionChunk {
			s.next = append(s.next[:0], it.Key()...)
			return nil
		}
		if err := s.visit(it.Key()); err != nil {
			return err
		}
	}
	s.next = nil
	if err := it.Error(); err != nil {
		return err
	}
	return s.leave()
}

// visit looks at a version.
func (s *sweep) visit(k []byte) error {
	key, rev, tombstone, ok := layout.DecodeVersionKey(k)
	if !ok {
		return layout.ErrCorruptRecord
	}
	if !bytes.Equal(key, s.key) {
		if err := s.leave(); err != nil {
			return err
		}
		s.key, s.superior = append(s.key[:0], key...), false
	}
	switch {
	case rev > s.target:
		return nil
	case !s.superior:
		if s.superior = true; tombstone {
			s.tombstone = bytes.Clone(k)
		}
		return nil
	case rev == s.target: // which has put it before it deleted it
		s.tombstone = nil
		return nil
	}
	s.removed++
	if !tombstone {
		s.compactor.store.counters.compacted.Add(1)
	}
	return s.batch.Delete(k, nil)
}

// leave ends what is to be done of a key.
func (s *sweep) leave() error {
	if s.tombstone == nil {
		return nil
	}
	k := s.tombstone
	s.tombstone = nil
	s.removed++
	return s.batch.Delete(k, nil)
}
