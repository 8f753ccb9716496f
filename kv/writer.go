package kv

import (
	"bytes"
	"context"

	"github.com/cockroachdb/pebble/v2"

	"github.com/ctlplane/ctlplane/kv/layout"
)

// writer builds the batch of one Apply.
//
// Invariants:
//  1. What it reads is the database as it was when it began, with the batch on top. For single keys the
//     header cache stands for the batch; for anything else the batch gets an index, but only then, because
//     most batches do without and an index costs as much as the writes.
//  2. All changes between two calls of endRevision have the revision state.revision+1; if there were any,
//     endRevision makes it the current one.
//  3. Of a key that a transaction deletes and puts, the database has what the last of both wrote, and may have the value
//     that was put before a delete, which hides it: of one revision, a tombstone sorts first.
type writer struct {
	store     *Store
	state     layout.State
	batch     *pebble.Batch
	indexed   bool
	points    *pebble.Iterator // for headers that are not cached; made when needed
	scratch   []byte
	versions  *versionWriter
	entry     uint64   // the index of the entry that is being applied
	current   []*event // the changes of the revision that is being made
	revisions []revisionEvents
	counted   operations

	leaseChanges  []leaseChange
	leaseNow      map[int64]leaseTerm // what they come to
	memberChanges []memberChange
	auth          *AuthState        // the users and roles that the command finds
	assigned      []tokenAssignment // to users that were authenticated
	forgetTokens  bool              // those that were assigned before
	alarmChanges  []alarmChange
	restriction   *restriction // once the batch has changed it
	downgrade     *string      // nil: as it was
	deleted       bool         // the revision that is being made deletes something
}

// revisionEvents are all changes of one revision.
type revisionEvents struct {
	revision   int64
	events     []*event
	bytes      int
	superseded int64  // State.Superseded at its end
	entry      uint64 // the index of the entry that made it
}

func newWriter(s *Store) *writer {
	return &writer{store: s, state: *s.current.Load(), batch: s.db.NewBatch(), scratch: s.apply.scratch, versions: &s.apply.versions, auth: s.auth.get()}
}

func (w *writer) close() {
	w.store.apply.scratch = w.scratch
	w.batch.Close()
	if w.points != nil {
		w.points.Close()
	}
}

// endRevision ends a command's revision, if it made one.
func (w *writer) endRevision() {
	if len(w.current) == 0 {
		return
	}
	w.state.Revision++
	r := revisionEvents{revision: w.state.Revision, events: w.current, superseded: w.state.Superseded, entry: w.entry}
	for _, e := range w.current {
		r.bytes += e.bytes()
	}
	w.revisions = append(w.revisions, r)
	w.current, w.deleted = nil, false
}

// readRevision is what a read of the command sees as the current revision: its own once it changed
// something.
func (w *writer) readRevision() int64 {
	if len(w.current) > 0 {
		return w.state.Revision + 1
	}
	return w.state.Revision
}

// reader returns the database with the batch on top.
func (w *writer) reader() (pebble.Reader, error) {
	if err := w.versions.write(w.batch); err != nil {
		return nil, err
	}
	if w.indexed {
		return w.batch, nil
	}
	if w.batch.Empty() {
		return w.store.db, nil
	}
	b := w.store.db.NewIndexedBatch()
	if err := b.Apply(w.batch, nil); err != nil {
		b.Close()
		return nil, err
	}
	w.batch.Close()
	w.batch, w.indexed = b, true
	return w.batch, nil
}

// header returns the header of key's newest version.
func (w *writer) header(key []byte) (layout.Header, error) {
	cache := w.store.apply.headers
	if h, ok := cache.Get(key); ok {
		return h, nil
	}
	if w.points == nil {
		if err := w.openPoints(); err != nil {
			return layout.Header{}, err
		}
	}
	h, err := layout.Lookup(w.points, &w.scratch, key, w.state.Revision, nil)
	if err != nil {
		return layout.Header{}, err
	}
	cache.Set(key, h)
	return h, nil
}

// openPoints opens the iterator for headers that are not cached. Where it can, it leaves out the memory
// tables: what is in them is cached.
func (w *writer) openPoints() (err error) {
	lower, upper := layout.SectionBounds(layout.SectionVersion)
	w.points, err = w.store.db.NewIter(&pebble.IterOptions{
		LowerBound: lower, UpperBound: upper, UseL6Filters: true,
		OnlyReadGuaranteedDurable: w.store.apply.headers.CoversUnflushed(w.store.FlushedIndex()),
	})
	return err
}

// value reads the value of the version with header h.
func (w *writer) value(key []byte, h layout.Header) ([]byte, error) {
	var reader pebble.Reader = w.store.db
	if h.Mod > w.store.current.Load().Revision {
		var err error
		if reader, err = w.reader(); err != nil {
			return nil, err
		}
	}
	return getValue(reader, key, h.Mod)
}

// getValue reads the value that key was given at revision mod.
func getValue(reader pebble.Reader, key []byte, mod int64) ([]byte, error) {
	k := layout.AppendVersionKey(make([]byte, 0, layout.VersionKeyLen(key)), key, mod, layout.MarkValue)
	b, closer, err := reader.Get(k)
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	_, v, err := layout.DecodeRecord(key, mod, b)
	if err != nil || len(v) == 0 {
		return nil, err
	}
	return bytes.Clone(v), nil
}

// putKey writes a new version of key, of which old is the present one.
func (w *writer) putKey(key, value []byte, lease int64, old layout.Header) error {
	rev := w.state.Revision + 1
	h := layout.Header{Create: rev, Mod: rev, Version: old.Version + 1, Lease: lease, Size: int64(len(key) + len(value))}
	if old.Exists() {
		h.Create = old.Create
		w.state.Superseded += old.Size + layout.VersionOverhead
	} else {
		w.state.Keys++
	}
	if old.Lease != lease {
		if err := w.reattach(key, old.Lease, lease); err != nil {
			return err
		}
	}
	w.state.Bytes += h.Size - old.Size
	w.store.apply.headers.Set(key, h)
	e := newEvent(false, old.Mod)
	e.kv.Key, e.kv.Value = key, value
	e.kv.CreateRevision, e.kv.ModRevision, e.kv.Version, e.kv.Lease = h.Create, rev, h.Version, lease
	w.current = append(w.current, e)
	w.versions.add(e, w.deleted && !old.Exists()) // maybe by this very revision
	return nil
}

// deleteKey writes a tombstone for key, of which old is the present version. It keeps key.
func (w *writer) deleteKey(key []byte, old layout.Header) error {
	rev := w.state.Revision + 1
	if old.Lease != 0 {
		if err := w.reattach(key, old.Lease, 0); err != nil {
			return err
		}
	}
	w.deleted = true
	w.state.Keys--
	w.state.Bytes -= old.Size
	w.state.Superseded += old.Size + layout.VersionOverhead
	w.store.apply.headers.Set(key, layout.Header{})
	e := newEvent(true, old.Mod)
	e.kv.Key, e.kv.ModRevision = key, rev
	w.current = append(w.current, e)
	w.versions.add(e, false)
	return nil
}

// reattach moves key from one lease to another; 0 is none.
func (w *writer) reattach(key []byte, from, to int64) error {
	if from != 0 {
		w.scratch = layout.AppendAttachmentKey(w.scratch[:0], from, key)
		if err := w.batch.Delete(w.scratch, nil); err != nil {
			return err
		}
	}
	if to == 0 {
		return nil
	}
	w.scratch = layout.AppendAttachmentKey(w.scratch[:0], to, key)
	return w.batch.Set(w.scratch, nil, nil)
}

// found is a key that a range of a write holds.
type found struct {
	key    []byte
	header layout.Header
	value  []byte
}

// existing returns the keys of a range as the command sees them, with their values if asked for.
func (w *writer) existing(r keyRange, values bool) ([]found, error) {
	if r.point {
		return w.existingKey(r.lo, values)
	}
	reader, err := w.reader()
	if err != nil {
		return nil, err
	}
	var all []found
	err = each(context.Background(), reader, r, w.readRevision(), func(s *scanner) (bool, error) {
		h, v, err := s.record()
		if err != nil {
			return false, err
		}
		f := found{key: bytes.Clone(s.key), header: h}
		if values && len(v) > 0 {
			f.value = bytes.Clone(v)
		}
		all = append(all, f)
		return true, nil
	})
	return all, err
}

func (w *writer) existingKey(key []byte, values bool) ([]found, error) {
	h, err := w.header(key)
	if err != nil || !h.Exists() {
		return nil, err
	}
	f := found{key: key, header: h}
	if values {
		if f.value, err = w.value(key, h); err != nil {
			return nil, err
		}
	}
	return []found{f}, nil
}

// writeHistory adds the batch's changes to the history, all at its end: Pebble's memory table takes keys
// in ascending order faster than any other. No record has changes of two entries: which of them are applied at once is
// different on each member, and what they write isn't.
func (w *writer) writeHistory() error {
	history := &w.store.apply.history
	for i, r := range w.revisions {
		for sub, e := range r.events {
			c := layout.Change{Key: e.kv.Key, Deleted: e.deleted(), Prev: e.prev}
			if sub == len(r.events)-1 {
				c.Superseded, c.Measured = r.superseded, true
			}
			if err := history.Add(w.batch, r.revision, uint32(sub), c); err != nil {
				return err
			}
		}
		if last := i == len(w.revisions)-1; last || w.revisions[i+1].entry != r.entry {
			if err := history.Flush(w.batch); err != nil {
				return err
			}
		}
	}
	return nil
}
