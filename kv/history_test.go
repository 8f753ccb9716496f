package kv

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"
)

// writtenChange is a change with what its record's key says.
type writtenChange struct {
	rev int64
	sub uint32
	change
}

func (c writtenChange) String() string {
	superseded := int64(0)
	if c.measured {
		superseded = c.superseded
	}
	return fmt.Sprintf("%d %q %t %d %d", c.rev, c.key, c.deleted, c.prev, superseded)
}

func genHistory(t *rapid.T) []writtenChange {
	var all []writtenChange
	rev, superseded := int64(0), int64(0)
	for range rapid.IntRange(1, 30).Draw(t, "revisions") {
		rev += rapid.SampledFrom([]int64{1, 1, 1, 2, 1 << 40}).Draw(t, "after")
		changes := rapid.IntRange(1, 3).Draw(t, "changes")
		for sub := range changes {
			c := change{
				key: slices.Repeat(genKey(t), rapid.SampledFrom([]int{1, 1, 1, 1000}).Draw(t, "repeated")), deleted: rapid.Bool().Draw(t, "deleted"),
				prev: rapid.Int64Range(0, rev).Draw(t, "prev"),
			}
			superseded += rapid.Int64Range(0, 1<<40).Draw(t, "superseded")
			if c.measured = sub == changes-1; c.measured {
				c.superseded = superseded
			}
			all = append(all, writtenChange{rev, uint32(sub), c})
		}
	}
	return all
}

// setAlone writes a change as formats 1 and 2 have it.
func setAlone(b *pebble.Batch, c writtenChange) error {
	var flags byte
	if c.deleted {
		flags |= flagDeleted
	}
	if c.measured {
		flags |= flagMeasured
	}
	record := binary.AppendUvarint([]byte{flags}, uint64(c.prev))
	if c.measured {
		record = binary.AppendUvarint(record, uint64(c.superseded))
	}
	return b.Set(appendHistoryKey(nil, c.rev, c.sub), append(record, c.key...), nil)
}

// TestHistoryIterator: however changes are gathered in records, from and up to any revision the iterator shows those that were
// written, from any place on, and finds the last.
func TestHistoryIterator(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		db, err := pebble.Open("db", &pebble.Options{FS: vfs.NewMem(), Comparer: Comparer})
		if err != nil {
			rt.Fatal(err)
		}
		defer db.Close()
		all := genHistory(rt)
		older := rapid.IntRange(0, len(all)).Draw(rt, "written by an older release")
		var w historyWriter
		b := db.NewBatch()
		defer b.Close()
		for i, c := range all {
			err := w.add(b, c.rev, c.sub, c.change)
			if i < older {
				w.changes = nil
				err = setAlone(b, c)
			} else if rapid.IntRange(0, 4).Draw(rt, "whole") == 0 && err == nil {
				err = w.flush(b)
			}
			if err != nil {
				rt.Fatal(err)
			}
		}
		if err := w.flush(b); err != nil {
			rt.Fatal(err)
		}
		if err := db.Apply(b, pebble.NoSync); err != nil {
			rt.Fatal(err)
		}
		near := func(label string) int64 {
			return rapid.SampledFrom(all).Draw(rt, label).rev + rapid.Int64Range(-1, 1).Draw(rt, label+" off")
		}
		from, to := near("from"), near("to")
		want := func(from int64) (some []string) {
			for _, c := range all {
				if c.rev >= from && c.rev <= to {
					some = append(some, c.String())
				}
			}
			return some
		}
		h, err := newHistoryIterator(db, from, to)
		if err != nil {
			rt.Fatal(err)
		}
		defer h.close()
		shown := func() writtenChange { return writtenChange{rev: h.rev, change: h.change} }
		rest := func() (some []string) {
			for ; h.valid; h.next() {
				some = append(some, shown().String())
			}
			if h.err != nil {
				rt.Fatal(h.err)
			}
			return some
		}
		h.first()
		if got := rest(); !slices.Equal(got, want(from)) {
			rt.Fatalf("from %d to %d: %q, want %q", from, to, got, want(from))
		}
		at := max(near("seek"), from)
		h.seek(at)
		if got := rest(); !slices.Equal(got, want(at)) {
			rt.Fatalf("from %d sought to %d: %q, want %q", at, to, got, want(at))
		}
		last := want(from)
		if h.last() != (len(last) > 0) || h.err != nil {
			rt.Fatalf("last: %v, %v; want one of %q", h.valid, h.err, last)
		}
		if h.valid && shown().String() != last[len(last)-1] {
			rt.Fatalf("last: %s, want %s", shown(), last[len(last)-1])
		}
	})
}

// FuzzHistoryRecord: no bytes on the disk are more than an error.
func FuzzHistoryRecord(f *testing.F) {
	var w historyWriter
	for i := range int64(3) {
		w.appendChange(7+i, change{key: []byte("a"), deleted: i == 1, prev: i, superseded: 300 * i, measured: i > 0})
	}
	f.Add(append([]byte{flagGrouped, 2}, w.changes...))
	f.Add([]byte{flagMeasured, 5, 80, 'k'})
	f.Add([]byte{flagGrouped})
	f.Fuzz(func(t *testing.T, b []byte) {
		var r historyRecord
		if r.begin(9, b) != nil {
			return
		}
		for n := 0; ; n++ {
			more, err := r.advance()
			if err != nil || !more {
				return
			}
			if len(r.change.key) > len(b) || n > len(b) {
				t.Fatalf("%d changes, a key of %d bytes, out of %d", n, len(r.change.key), len(b))
			}
		}
	})
}
