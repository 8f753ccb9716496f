package kv

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2"

	"github.com/ctlplane/ctlplane/kv/layout"
)

// applyProgress is the applied index and who waits for it. It advances last: state.Applied is there before leases and members are.
type applyProgress struct {
	applied atomic.Uint64

	mu      sync.Mutex
	changed chan struct{} // closed at the next advance; nil while nobody waits
}

func (p *applyProgress) advance(index uint64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.applied.Store(index)
	if p.changed != nil {
		close(p.changed)
		p.changed = nil
	}
}

// reached returns nil once index is applied, and a channel that is closed at the next advance before that.
func (p *applyProgress) reached(index uint64) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.applied.Load() >= index {
		return nil
	}
	if p.changed == nil {
		p.changed = make(chan struct{})
	}
	return p.changed
}

// AppliedIndex returns the Raft index of the last entry whose effects can be read: keys, leases, members and alarms.
func (s *Store) AppliedIndex() uint64 { return s.progress.applied.Load() }

// AppliedTerm returns the Raft term of the entry at AppliedIndex.
func (s *Store) AppliedTerm() uint64 { return s.current.Load().Term }

// WaitApplied returns once the entry at index is applied and visible, or with ctx's error or ErrClosed.
func (s *Store) WaitApplied(ctx context.Context, index uint64) error {
	for {
		changed := s.progress.reached(index)
		if changed == nil {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.closing:
			return ErrClosed
		}
	}
}

// flushedIndex is the applied index as it is on the disk, read again after each flush.
type flushedIndex struct {
	stale atomic.Bool
	index atomic.Uint64
}

func (f *flushedIndex) invalidate() { f.stale.Store(true) }

// FlushedIndex returns an applied index that survives the loss of power: the Raft log may be cut up to and
// including it, and no further. It is read from the state record through an iterator that ignores memory
// tables, so it is what Open would find after a crash now. It may lag a flush that is just ending.
func (s *Store) FlushedIndex() uint64 {
	release, err := s.use()
	if err != nil {
		return s.flushed.index.Load()
	}
	defer release()
	if s.flushed.index.Load() == 0 || s.flushed.stale.Swap(false) {
		if err := s.readFlushed(); err != nil {
			s.flushed.invalidate()
			s.log.Error("can't tell what of the store is on the disk; the Raft log is kept until it can be told", "err", err)
		}
	}
	return s.flushed.index.Load()
}

func (s *Store) readFlushed() error {
	upper := append(append([]byte(nil), layout.StateKey...), layout.MarkNone)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: layout.StateKey, UpperBound: upper, OnlyReadGuaranteedDurable: true})
	if err != nil {
		return err
	}
	defer it.Close()
	if !it.First() {
		return it.Error()
	}
	b, err := it.ValueAndErr()
	if err != nil {
		return err
	}
	st, err := layout.DecodeState(b)
	if err != nil {
		return err
	}
	if err := s.OnDisk(); err != nil {
		return err
	}
	// Two callers may have read in either order: the index only grows.
	for old := s.flushed.index.Load(); old < st.Applied && !s.flushed.index.CompareAndSwap(old, st.Applied); {
		old = s.flushed.index.Load()
	}
	return nil
}

// Flush writes everything that is applied to the disk. FlushedIndex is then at least what AppliedIndex was
// when Flush was called.
func (s *Store) Flush() error {
	release, err := s.use()
	if err != nil {
		return err
	}
	defer release()
	if err := s.db.Flush(); err != nil {
		return fmt.Errorf("kv: can't write the store to the disk: %w", err)
	}
	s.flushed.invalidate()
	return s.OnDisk()
}

// OnDisk returns an error once nothing is written to the disk any more, see FullAbandon.
func (s *Store) OnDisk() error {
	if s.disk != nil && s.disk.abandoned.Load() {
		return fmt.Errorf("kv: the disk of %s is full: %w", s.options.Dir, syscall.ENOSPC)
	}
	return nil
}

// Checkpoint makes a copy of the store in dir, which must not exist yet, out of hard links: it takes no
// space and no time in proportion to the data. The copy holds everything that was applied when Checkpoint
// was called, maybe more, and can be opened with Open. dir has to be on the file system of the store.
func (s *Store) Checkpoint(dir string) error {
	release, err := s.use()
	if err != nil {
		return err
	}
	defer release()
	// There is no write-ahead log that the checkpoint could take along.
	if err := s.db.Flush(); err != nil {
		return fmt.Errorf("kv: can't write the store to the disk: %w", err)
	}
	s.flushed.invalidate()
	if err := s.OnDisk(); err != nil {
		return err
	}
	err = s.db.Checkpoint(dir)
	if errors.Is(err, pebble.ErrClosed) {
		return ErrClosed
	}
	if err != nil {
		return fmt.Errorf("kv: can't make a checkpoint in %s: %w", dir, err)
	}
	return nil
}
