package layout

import (
	"encoding/binary"

	"github.com/cockroachdb/pebble/v2"
)

// Change is one of the history: which key was changed, how, and what version it replaced.
type Change struct {
	Key     []byte
	Deleted bool
	Prev    int64 // the revision of that version; 0: there was none
	// Superseded is State.Superseded as it was after the change, if Measured says so: at least the last change of each revision
	// does.
	Superseded int64
	Measured   bool
}

// A record of the history holds changes that follow each other, of one revision or of several, and its key is that of the
// last of them. So whatever lies between two keys is in the records from the first key on up to, and with, the one after the
// second. A put needs no record of its own, but shares one with the others of its entry.
//
// A record begins with a byte of flags. With flagGrouped, there follow how many revisions the last change is after the first,
// and each change as appendChange has it. Without, as in formats 1 and 2, it is one change: prev, superseded if it is measured,
// and the key. Numbers are varints.
const (
	flagDeleted  = 1 << iota
	flagMeasured // superseded is there
	flagGrouped
)

// historyRecordBytes bounds a record, but one change is never divided.
const historyRecordBytes = 16 << 10

// HistoryWriter makes records of changes that come in their order. The zero writer is ready.
type HistoryWriter struct {
	changes    []byte // of the record that is being made, encoded
	first      int64  // revision of the first of them
	rev        int64  // and of the last, which is the
	sub        uint32 // sub-th of it
	superseded int64  // of the last that was measured
}

// Add adds the sub-th change of revision rev, and writes what has become a whole record.
func (w *HistoryWriter) Add(b *pebble.Batch, rev int64, sub uint32, c Change) error {
	if len(w.changes) >= historyRecordBytes {
		if err := w.Flush(b); err != nil {
			return err
		}
	}
	if len(w.changes) == 0 {
		w.first, w.rev, w.superseded = rev, rev, 0
	}
	w.appendChange(rev, c)
	w.rev, w.sub = rev, sub
	return nil
}

// appendChange appends how many revisions the change is after the one before, flags, how far back prev is, what superseded has
// grown by since the last change that says so, and the key.
func (w *HistoryWriter) appendChange(rev int64, c Change) {
	var flags byte
	if c.Deleted {
		flags |= flagDeleted
	}
	if c.Measured {
		flags |= flagMeasured
	}
	back := uint64(0)
	if c.Prev != 0 {
		back = uint64(rev-c.Prev) + 1
	}
	w.changes = binary.AppendUvarint(w.changes, uint64(rev-w.rev))
	w.changes = append(w.changes, flags)
	w.changes = binary.AppendUvarint(w.changes, back)
	if c.Measured {
		w.changes = binary.AppendUvarint(w.changes, uint64(c.Superseded-w.superseded))
		w.superseded = c.Superseded
	}
	w.changes = binary.AppendUvarint(w.changes, uint64(len(c.Key)))
	w.changes = append(w.changes, c.Key...)
}

// Flush writes the changes that no record has yet.
func (w *HistoryWriter) Flush(b *pebble.Batch) error {
	if len(w.changes) == 0 {
		return nil
	}
	span := uint64(w.rev - w.first)
	op := b.SetDeferred(historyKeyLen, 1+uvarintLen(span)+len(w.changes))
	AppendHistoryKey(op.Key[:0], w.rev, w.sub)
	op.Value[0] = flagGrouped
	n := 1 + binary.PutUvarint(op.Value[1:], span)
	copy(op.Value[n:], w.changes)
	w.changes = w.changes[:0]
	return op.Finish()
}

// historyRecord goes through the changes of a record. What it shows aliases the record.
type historyRecord struct {
	rest    []byte // what follows the present change
	grouped bool
	Rev     int64
	Change  Change
}

// begin begins with a record whose last change is of revision last; advance goes to its first one.
func (r *historyRecord) begin(last int64, b []byte) error {
	*r = historyRecord{rest: b, Rev: last}
	if len(b) == 0 || b[0]&^(flagDeleted|flagMeasured|flagGrouped) != 0 {
		return ErrCorruptRecord
	}
	if r.grouped = b[0] == flagGrouped; !r.grouped {
		return nil
	}
	r.rest = b[1:]
	span, err := r.number()
	r.Rev -= int64(span)
	return err
}

// advance goes to the next change. more is false when there was none.
func (r *historyRecord) advance() (more bool, err error) {
	if len(r.rest) == 0 {
		return false, nil
	}
	if !r.grouped {
		return true, r.alone()
	}
	return true, r.shared()
}

// alone decodes the change of a record that has no other.
func (r *historyRecord) alone() error {
	if err := r.flags(); err != nil {
		return err
	}
	prev, err := r.number()
	if err != nil {
		return err
	}
	r.Change.Prev = int64(prev)
	if r.Change.Measured {
		superseded, err := r.number()
		if err != nil {
			return err
		}
		r.Change.Superseded = int64(superseded)
	}
	r.Change.Key, r.rest = r.rest, nil
	return nil
}

// shared decodes a change of several. superseded of one that isn't measured is that of the last one that is.
func (r *historyRecord) shared() error {
	ahead, err := r.number()
	if err != nil {
		return err
	}
	r.Rev += int64(ahead)
	if err := r.flags(); err != nil {
		return err
	}
	back, err := r.number()
	if err != nil {
		return err
	}
	if r.Change.Prev = 0; back != 0 {
		r.Change.Prev = r.Rev - int64(back-1)
	}
	if r.Change.Measured {
		grown, err := r.number()
		if err != nil {
			return err
		}
		r.Change.Superseded += int64(grown)
	}
	n, err := r.number()
	if err != nil || n > uint64(len(r.rest)) {
		return ErrCorruptRecord
	}
	r.Change.Key, r.rest = r.rest[:n:n], r.rest[n:]
	return nil
}

func (r *historyRecord) flags() error {
	if len(r.rest) == 0 || r.rest[0]&^(flagDeleted|flagMeasured) != 0 {
		return ErrCorruptRecord
	}
	r.Change.Deleted, r.Change.Measured = r.rest[0]&flagDeleted != 0, r.rest[0]&flagMeasured != 0
	r.rest = r.rest[1:]
	return nil
}

func (r *historyRecord) number() (uint64, error) {
	v, n := binary.Uvarint(r.rest)
	if n <= 0 {
		return 0, ErrCorruptRecord
	}
	r.rest = r.rest[n:]
	return v, nil
}
