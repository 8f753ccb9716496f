// Package bulkload fills Pebble databases that nobody else writes to meanwhile, as work on a store that is not open does: an
// import, an adoption, a sort on the disk. It knows nothing of what it writes.
//
// Invariants:
//  1. A full disk is an error and not a wait without end.
//  2. What is in memory is bounded by the tables' size, whatever is written.
//
// Each value is for one goroutine.
package bulkload

import "github.com/cockroachdb/pebble/v2"

// Flusher writes a database's memory tables to the disk for somebody who fills it all at once, and can give up.
// Left to itself Pebble tries again without end when the disk is full, and makes its writers wait meanwhile.
//
// Invariant: at most one table's worth is written between two flushes, so that no write ever has to wait.
type Flusher struct {
	db     *pebble.DB
	limit  int
	bytes  int // since the last flush
	failed chan error
}

// NewFlusher adjusts the options of the database that is to be opened, and then given to Use.
func NewFlusher(o *pebble.Options) *Flusher {
	f := &Flusher{limit: int(o.MemTableSize) / 2, failed: make(chan error, 1)}
	listener := pebble.EventListener{}
	if o.EventListener != nil {
		listener = *o.EventListener
	}
	listener.BackgroundError = func(err error) {
		select {
		case f.failed <- err:
		default: // there is one already
		}
	}
	o.EventListener = &listener
	return f
}

// Use names the database, which was opened with the options that NewFlusher was given.
func (f *Flusher) Use(db *pebble.DB) { f.db = db }

// Apply writes a batch and empties it.
func (f *Flusher) Apply(b *pebble.Batch) error {
	f.bytes += b.Len()
	if err := f.db.Apply(b, pebble.NoSync); err != nil {
		return err
	}
	b.Reset()
	if f.bytes < f.limit {
		return nil
	}
	return f.Flush()
}

// Flush writes everything to the disk.
func (f *Flusher) Flush() error {
	f.bytes = 0
	done, err := f.db.AsyncFlush()
	if err != nil {
		return err
	}
	select {
	case <-done:
		return nil
	case err := <-f.failed:
		return err
	}
}
