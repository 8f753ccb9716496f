package layout

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"pgregory.net/rapid"

	"github.com/ctlplane/ctlplane/kv/layout/layouttest"
)

// writtenChange is a change with what its record's key says.
type writtenChange struct {
	rev int64
	sub uint32
	Change
}

func (c writtenChange) String() string {
	superseded := int64(0)
	if c.Measured {
		superseded = c.Superseded
	}
	return fmt.Sprintf("%d %q %t %d %d", c.rev, c.Key, c.Deleted, c.Prev, superseded)
}

func genHistory(t *rapid.T) []writtenChange {
	var all []writtenChange
	rev, superseded := int64(0), int64(0)
	for range rapid.IntRange(1, 30).Draw(t, "revisions") {
		rev += rapid.SampledFrom([]int64{1, 1, 1, 2, 1 << 40}).Draw(t, "after")
		changes := rapid.IntRange(1, 3).Draw(t, "changes")
		for sub := range changes {
			c := Change{
				Key: slices.Repeat(rapid.SampledFrom(layouttest.Keys).Draw(t, "key"), rapid.SampledFrom([]int{1, 1, 1, 1000}).Draw(t, "repeated")), Deleted: rapid.Bool().Draw(t, "deleted"),
				Prev: rapid.Int64Range(0, rev).Draw(t, "prev"),
			}
			superseded += rapid.Int64Range(0, 1<<40).Draw(t, "superseded")
			if c.Measured = sub == changes-1; c.Measured {
				c.Superseded = superseded
			}
			all = append(all, writtenChange{rev, uint32(sub), c})
		}
	}
	return all
}

// setAlone writes a change as formats 1 and 2 have it.
func setAlone(b *pebble.Batch, c writtenChange) error {
	var flags byte
	if c.Deleted {
		flags |= flagDeleted
	}
	if c.Measured {
		flags |= flagMeasured
	}
	record := binary.AppendUvarint([]byte{flags}, uint64(c.Prev))
	if c.Measured {
		record = binary.AppendUvarint(record, uint64(c.Superseded))
	}
	return b.Set(AppendHistoryKey(nil, c.rev, c.sub), append(record, c.Key...), nil)
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
		var w HistoryWriter
		b := db.NewBatch()
		defer b.Close()
		for i, c := range all {
			err := w.Add(b, c.rev, c.sub, c.Change)
			if i < older {
				w.changes = nil
				err = setAlone(b, c)
			} else if rapid.IntRange(0, 4).Draw(rt, "whole") == 0 && err == nil {
				err = w.Flush(b)
			}
			if err != nil {
				rt.Fatal(err)
			}
		}
		if err := w.Flush(b); err != nil {
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
		h, err := NewHistoryIterator(db, from, to)
		if err != nil {
			rt.Fatal(err)
		}
		defer h.Close()
		shown := func() writtenChange { return writtenChange{rev: h.Rev, Change: h.Change} }
		rest := func() (some []string) {
			for ; h.Valid; h.Next() {
				some = append(some, shown().String())
			}
			if h.Err != nil {
				rt.Fatal(h.Err)
			}
			return some
		}
		h.First()
		if got := rest(); !slices.Equal(got, want(from)) {
			rt.Fatalf("from %d to %d: %q, want %q", from, to, got, want(from))
		}
		at := max(near("seek"), from)
		h.SeekRevision(at)
		if got := rest(); !slices.Equal(got, want(at)) {
			rt.Fatalf("from %d sought to %d: %q, want %q", at, to, got, want(at))
		}
		last := want(from)
		if h.Last() != (len(last) > 0) || h.Err != nil {
			rt.Fatalf("last: %v, %v; want one of %q", h.Valid, h.Err, last)
		}
		if h.Valid && shown().String() != last[len(last)-1] {
			rt.Fatalf("last: %s, want %s", shown(), last[len(last)-1])
		}
	})
}

// FuzzHistoryRecord: no bytes on the disk are more than an error.
func FuzzHistoryRecord(f *testing.F) {
	var w HistoryWriter
	for i := range int64(3) {
		w.appendChange(7+i, Change{Key: []byte("a"), Deleted: i == 1, Prev: i, Superseded: 300 * i, Measured: i > 0})
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
			if len(r.Change.Key) > len(b) || n > len(b) {
				t.Fatalf("%d changes, a key of %d bytes, out of %d", n, len(r.Change.Key), len(b))
			}
		}
	})
}
