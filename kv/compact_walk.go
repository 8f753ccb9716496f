package kv

import (
	"github.com/cockroachdb/pebble/v2"

	"github.com/ctlplane/ctlplane/kv/layout"
)

// walk goes through a part of the history, and gathers the removals that its changes ask for.
//
// Each change names the version that it replaced, which is then needed by no revision from the target on; a tombstone is
// needed by none itself once all that it hides is gone.
//
// Invariants:
//  1. A tombstone is removed in one batch with the values that it hides, or after them: those of before its revision, and
//     the one that its own transaction may have put in between. Without it that one would live again.
//  2. What the target itself has put and deleted stays, as a watch from there still has to see both. The next walk, which
//     begins there, removes it.
type walk struct {
	compactor *compactor
	target    int64
	history   *layout.HistoryIterator
	batch     *pebble.Batch // what the step removes
	scratch   []byte

	// Of the revision that is being walked through: the removals of its tombstones, unless those need a turn of their own.
	tombstones *pebble.Batch
	twice      bool
	kept       map[string]struct{} // keys of which the target's version and tombstone stay: at most MaxTxnOps
}

// collect adds the removals that the changes from revision from on ask for, and returns the revision up to
// which it came: every revision below it is done, and it itself is looked at by the next walk again.
func (c *compactor) collect(b *pebble.Batch, from, target int64) (reached int64, err error) {
	history, err := layout.NewHistoryIterator(c.store.db, from, target)
	if err != nil {
		return 0, err
	}
	defer history.Close()
	w := &walk{compactor: c, target: target, history: history, batch: b, tombstones: c.store.db.NewBatch()}
	defer w.tombstones.Close()
	history.First()
	for seen := 0; history.Valid; {
		if seen >= compactionChunk {
			return history.Rev, nil
		}
		changes, err := w.revision(history.Rev)
		if err != nil {
			return 0, err
		}
		seen += changes
	}
	return target, history.Err
}

// revision goes through the changes of one revision, at the first of which the iterator is, and returns their number.
func (w *walk) revision(rev int64) (changes int, err error) {
	w.twice, w.kept = false, nil
	w.tombstones.Reset()
	changes, err = w.each(rev, func(ch layout.Change) error {
		if ch.Prev == w.target {
			w.keep(ch.Key)
			return nil
		}
		if err := w.removeValue(ch); err != nil || !ch.Deleted || w.twice {
			return err
		}
		return w.removeTombstone(w.tombstones, ch.Key, rev)
	})
	switch {
	case err != nil:
		return changes, err
	case w.twice:
		w.history.SeekRevision(rev)
		return w.each(rev, func(ch layout.Change) error {
			if _, kept := w.kept[string(ch.Key)]; kept || !ch.Deleted {
				return nil
			}
			return w.removeTombstone(w.batch, ch.Key, rev)
		})
	case w.tombstones.Empty():
		return changes, nil
	}
	return changes, w.batch.Apply(w.tombstones, nil)
}

func (w *walk) keep(key []byte) {
	w.twice = true
	if w.kept == nil {
		w.kept = map[string]struct{}{}
	}
	w.kept[string(key)] = struct{}{}
}

// each visits the changes of rev from where the iterator is. What a revision of very many changes removes is written in
// parts, which can be done twice.
func (w *walk) each(rev int64, visit func(layout.Change) error) (n int, err error) {
	for h := w.history; h.Valid && h.Rev == rev; h.Next() {
		if n > 0 && n%compactionChunk == 0 {
			w.twice = true
			if err := w.compactor.flushPart(w.batch); err != nil {
				return n, err
			}
		}
		if err := visit(h.Change); err != nil {
			return n, err
		}
		n++
	}
	return n, w.history.Err
}

func (w *walk) removeValue(ch layout.Change) error {
	if ch.Prev == 0 {
		return nil
	}
	w.scratch = layout.AppendVersionKey(w.scratch[:0], ch.Key, ch.Prev, layout.MarkValue)
	w.compactor.store.counters.compacted.Add(1)
	return w.batch.Delete(w.scratch, nil)
}

func (w *walk) removeTombstone(b *pebble.Batch, key []byte, rev int64) error {
	w.scratch = layout.AppendVersionKey(w.scratch[:0], key, rev, layout.MarkTombstone)
	return b.Delete(w.scratch, nil)
}
