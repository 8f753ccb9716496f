package kv

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/ctlplane/ctlplane/kv/layout"
)

// versionWriter writes versions and tombstones in the order of their keys: the memory table finds a key's place faster from that
// of its neighbour than from the root. The zero writer is ready.
//
// Invariant: those of one key are written in the order in which they were added.
type versionWriter struct {
	added   []addedVersion
	scratch []byte
}

// addedVersion is what an event has written.
type addedVersion struct {
	event *event
	order int
	// revived: the same revision may have deleted the key before.
	revived bool
}

func (w *versionWriter) add(e *event, revived bool) {
	w.added = append(w.added, addedVersion{event: e, order: len(w.added), revived: revived})
}

// write writes what was added.
func (w *versionWriter) write(b *pebble.Batch) error {
	slices.SortFunc(w.added, func(a, b addedVersion) int {
		if c := bytes.Compare(a.event.kv.Key, b.event.kv.Key); c != 0 {
			return c
		}
		return cmp.Compare(a.order, b.order)
	})
	for i := range w.added {
		if err := w.set(b, &w.added[i]); err != nil {
			return err
		}
	}
	clear(w.added)
	w.added = w.added[:0]
	return nil
}

func (w *versionWriter) set(b *pebble.Batch, v *addedVersion) error {
	kv := &v.event.kv
	if v.event.deleted() {
		op := b.SetDeferred(layout.VersionKeyLen(kv.Key), 0)
		layout.AppendVersionKey(op.Key[:0], kv.Key, kv.ModRevision, layout.MarkTombstone)
		return op.Finish()
	}
	if v.revived {
		w.scratch = layout.AppendVersionKey(w.scratch[:0], kv.Key, kv.ModRevision, layout.MarkTombstone)
		if err := b.Delete(w.scratch, nil); err != nil {
			return err
		}
	}
	h := layout.Header{Create: kv.CreateRevision, Version: kv.Version, Lease: kv.Lease}
	op := b.SetDeferred(layout.VersionKeyLen(kv.Key), h.EncodedLen()+len(kv.Value))
	layout.AppendVersionKey(op.Key[:0], kv.Key, kv.ModRevision, layout.MarkValue)
	copy(op.Value[h.Encode(op.Value):], kv.Value)
	return op.Finish()
}
