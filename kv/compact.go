package kv

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv/layout"
)

// compact makes every revision below r.Revision unreadable. What that makes superfluous is removed in the
// background, see compactor.
func (w *writer) compact(r *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	switch {
	case r.Revision <= w.state.Compact:
		return nil, ErrCompacted
	case r.Revision > w.state.Revision:
		return nil, ErrFutureRevision
	}
	reclaimed, err := w.supersededAt(r.Revision)
	if err != nil {
		return nil, err
	}
	w.state.Compact, w.state.Reclaimed = r.Revision, reclaimed
	return &pb.CompactionResponse{Header: header64(w.state.Revision)}, nil
}

// supersededAt returns what State.Superseded was at a revision, which is not compacted yet.
func (w *writer) supersededAt(revision int64) (int64, error) {
	for _, r := range slices.Backward(w.revisions) {
		if r.revision <= revision {
			return r.superseded, nil
		}
	}
	return layout.SupersededAt(w.store.db, w.state, revision)
}

const (
	// compactionChunk is how many changes of the history are looked at, or versions removed, in one step.
	compactionChunk = 1000
	// Between two steps there is a pause. What they remove the database rewrites its files for, which takes far more than the
	// steps do: the more is written, the longer the pauses are, and at 5,000 writes a second they are the longest. They are
	// always short once the next compaction was asked for before one was done, so that the history can't outgrow it.
	shortestPause = 10 * time.Millisecond
	longestPause  = 50 * time.Millisecond
	pausePerWrite = 200 * time.Microsecond
)

// compactor removes, in the background and in small steps, the versions that no readable revision needs.
//
// It walks the history from where the last compaction ended up to the compaction revision C (see walk), or, where much has
// changed, through all versions (see sweep). The history below C goes too. That of C stays, because a watch may begin there and
// has to see all that C did; so each walk begins at the revision at which the last one ended, not after it.
//
// Invariants:
//  1. The target is the replicated state record's compaction revision: what is removed was refused to
//     readers before.
//  2. finished is stored with the removals that reach it: a restart goes on from there.
//  3. What is removed never changes what Apply does or answers.
type compactor struct {
	store    *Store
	wakeup   chan struct{}
	ctx      context.Context
	cancel   context.CancelFunc
	running  sync.WaitGroup
	asked    int64 // the compaction revision when it began to work; its own goroutine's, like
	seen     int64 // the store's revision at the last pause
	weighed  int64 // the target for which it was found out
	sweeps   bool  // whether a sweep pays
	mu       sync.Mutex
	finished int64
	changed  chan struct{} // closed when finished moves
}

func newCompactor(s *Store) (*compactor, error) {
	c := &compactor{store: s, wakeup: make(chan struct{}, 1), changed: make(chan struct{})}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	finished, err := layout.ReadCompacted(s.db)
	if err != nil {
		return nil, fmt.Errorf("kv: can't read the compaction progress of %s: %w", s.options.Dir, err)
	}
	c.finished = finished
	return c, nil
}

func (c *compactor) start() {
	c.running.Add(1)
	go c.run()
	c.wake()
}

func (c *compactor) stop() {
	c.cancel()
	c.running.Wait()
}

func (c *compactor) wake() {
	select {
	case c.wakeup <- struct{}{}:
	default:
	}
}

func (c *compactor) run() {
	defer c.running.Done()
	for {
		select {
		case <-c.wakeup:
		case <-c.ctx.Done():
			return
		}
		begun, worked := c.store.options.Clock.Now(), c.behind()
		c.asked, c.seen = c.store.CompactRevision(), c.store.Revision()
		for c.behind() {
			if err := c.work(); c.ctx.Err() != nil {
				return
			} else if err != nil {
				c.store.log.Error("the compaction can't go on; it is tried again after the next one or a restart", "err", err)
				break
			}
			if !c.pause() {
				return
			}
		}
		if told := c.store.options.OnCompacted; told != nil && worked && !c.behind() {
			told(c.store.options.Clock.Since(begun))
		}
	}
}

// work sweeps, or does a step of a walk.
func (c *compactor) work() error {
	target := c.store.CompactRevision()
	if c.weighed != target {
		sweeps, err := c.sweepPays(target)
		if err != nil {
			return err
		}
		c.weighed, c.sweeps = target, sweeps
	}
	if c.sweeps {
		return c.sweepTo(target)
	}
	return c.step(target)
}

func (c *compactor) behind() bool { return c.progress() < c.store.CompactRevision() }

func (c *compactor) progress() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.finished
}

// pause waits between two steps. It returns false when the compactor is stopped.
func (c *compactor) pause() bool {
	t := c.store.options.Clock.NewTimer(c.nextPause())
	defer t.Stop()
	select {
	case <-t.C():
		return true
	case <-c.ctx.Done():
		return false
	}
}

func (c *compactor) nextPause() time.Duration {
	revision := c.store.Revision()
	written := revision - c.seen
	c.seen = revision
	if c.store.CompactRevision() > c.asked {
		return shortestPause
	}
	return min(shortestPause+time.Duration(written)*pausePerWrite, longestPause)
}

// step does one chunk of whole revisions.
func (c *compactor) step(target int64) error {
	b := c.store.db.NewBatch()
	defer b.Close()
	reached, err := c.collect(b, c.progress(), target)
	if err != nil {
		return err
	}
	return c.reach(b, reached)
}

// reach writes what b holds, with that everything below a revision is removed.
func (c *compactor) reach(b *pebble.Batch, revision int64) error {
	// What is below was removed by the steps before. Said again each time, it would be as many overlapping ranges to sort.
	if err := b.DeleteRange(layout.AppendHistoryKey(nil, c.progress(), 0), layout.AppendHistoryKey(nil, revision, 0), nil); err != nil {
		return err
	}
	if err := b.Set(layout.CompactedKey, binary.BigEndian.AppendUint64(nil, uint64(revision)), nil); err != nil {
		return err
	}
	if err := c.store.db.Apply(b, pebble.NoSync); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.finished = revision
	close(c.changed)
	c.changed = make(chan struct{})
	return nil
}

// flushPart writes what b holds, and waits as between two steps.
func (c *compactor) flushPart(b *pebble.Batch) error {
	if err := c.store.db.Apply(b, pebble.NoSync); err != nil {
		return err
	}
	b.Reset()
	if !c.pause() {
		return c.ctx.Err()
	}
	return nil
}

// WaitCompacted returns once everything below revision is removed from the database, or with ctx's error or
// ErrClosed. It is what etcd's "physical" compaction waits for.
func (s *Store) WaitCompacted(ctx context.Context, revision int64) error {
	c := s.compact
	for {
		c.mu.Lock()
		done, changed := c.finished >= revision, c.changed
		c.mu.Unlock()
		if done {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		case <-c.ctx.Done():
			return ErrClosed
		}
	}
}
