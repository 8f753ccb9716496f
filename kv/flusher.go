package kv

import "github.com/cockroachdb/pebble/v2"

// flusher writes a database's memory tables to the disk for somebody who fills it all at once, and can give up.
// Left to itself Pebble tries again without end when the disk is full, and makes its writers wait meanwhile.
//
// Invariant: at most one table's worth is written between two flushes, so that no write ever has to wait.
type flusher struct {
	db     *pebble.DB
	limit  int
	bytes  int // since the last flush
	failed chan error
}

// newFlusher adjusts the options of the database that is to be opened, and then given to the flusher.
func newFlusher(o *pebble.Options) *flusher {
	f := &flusher{limit: int(o.MemTableSize) / 2, failed: make(chan error, 1)}
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

// apply writes a batch and empties it.
func (f *flusher) apply(b *pebble.Batch) error {
	f.bytes += b.Len()
	if err := f.db.Apply(b, pebble.NoSync); err != nil {
		return err
	}
	b.Reset()
	if f.bytes < f.limit {
		return nil
	}
	return f.flush()
}

// flush writes everything to the disk.
func (f *flusher) flush() error {
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
