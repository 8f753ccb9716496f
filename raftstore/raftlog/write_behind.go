package raftlog

import (
	"errors"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/ctlplane/ctlplane/raftstore/disk"
)

// maxUnwritten bounds the bytes of entries that a leader has not written yet.
const maxUnwritten = 8 << 20

// WriteBehind is a log store in which a leader need not wait for its own disk: StoreLogs returns once an
// entry is queued, Raft sends it to the followers, and it is written here while it travels and is written
// there. So a commit takes as long as the slower of the two, not their sum (Ongaro's thesis, 10.2.1).
//
// Raft counts what StoreLogs has returned for as durable here, which it isn't. What makes that safe:
//  1. Only a leader that needs another voter for a majority queues, and never a configuration, after which
//     it might need none.
//  2. The acknowledgement of a follower reaches Raft only once what it acknowledges is durable here too
//     (see peers.Transport). So what is committed is durable on a majority, the leader included.
//  3. A member that leads no more tells nobody that it has an entry that isn't durable: it writes what is
//     queued before it lets Raft look at it, or store behind it.
//  4. Queued entries are written in order, and are read, cut and counted like those in the store beneath.
//     When the disk refuses them they stay queued: Raft has been promised them.
//  5. What Raft has cut off for entries of another leader is there again, queued, when the disk refuses those: Raft goes on with
//     the log that it had (its appendEntries notes what it has stored, not what it has cut off). Where it can't be there again,
//     Role.Broken is told.
type WriteBehind struct {
	raft.LogStore // what is durable
	role          atomic.Pointer[Role]

	mu       sync.Mutex
	changed  sync.Cond
	queued   []*raft.Log // consecutive
	cut      cutEnd
	bytes    int
	deferred bool // the writer writes what is queued
	writing  bool
	closed   bool
	writer   sync.WaitGroup

	// Calls are those of StoreLogs, Entries those that are queued and that the disk has not refused: waiting of them.
	Calls, Entries disk.Work
	waiting        int

	refusals atomic.Uint64
}

// Role is what a log has to know of the member that it is of.
type Role struct {
	// Leads tells whether Raft leads, NeedsOthers whether it takes another voter to commit an entry.
	Leads, NeedsOthers func() bool
	// Failed is told that the disk has refused queued entries, which the next StoreLogs tries again.
	Failed func(error)
	// Broken is told that the log ends before the entry that Raft takes for its last. Only a restart mends that.
	Broken func(error)
}

func newWriteBehind(store raft.LogStore) *WriteBehind {
	w := &WriteBehind{LogStore: store}
	w.changed.L = &w.mu
	w.Serve(Role{Leads: func() bool { return false }})
	w.writer.Go(w.write)
	return w
}

// Serve tells the log the member that it is of. Until then nothing is queued.
func (w *WriteBehind) Serve(role Role) { w.role.Store(&role) }

// Close writes what is queued, if the disk takes it, and ends the writer. The store beneath stays open.
func (w *WriteBehind) Close() error {
	w.mu.Lock()
	w.closed = true
	w.changed.Broadcast()
	w.mu.Unlock()
	w.writer.Wait()
	return nil
}

// IsMonotonic implements raft.MonotonicLogStore.
func (w *WriteBehind) IsMonotonic() bool {
	store, ok := w.LogStore.(raft.MonotonicLogStore)
	return ok && store.IsMonotonic()
}

// StoreLog implements raft.LogStore.
func (w *WriteBehind) StoreLog(log *raft.Log) error { return w.StoreLogs([]*raft.Log{log}) }

// StoreLogs implements raft.LogStore. Raft calls it from one goroutine.
func (w *WriteBehind) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	w.Calls.Begin(1)
	defer w.Calls.End(1)
	role := w.role.Load()
	mayDefer := role.Leads() && role.NeedsOthers() && !hasConfiguration(logs)
	w.mu.Lock()
	defer w.mu.Unlock()
	cut := w.cut
	w.cut = cutEnd{}
	for w.deferred && w.bytes > maxUnwritten {
		w.changed.Wait()
	}
	if mayDefer && (w.deferred || len(w.queued) == 0) {
		w.enqueue(logs)
		w.deferred = true
		w.changed.Broadcast()
		return nil
	}
	if err := w.drain(); err != nil {
		return err
	}
	err := w.writeLogs(logs)
	if err != nil && cut.from == logs[0].Index {
		if len(cut.entries) == 0 {
			role.Broken(err)
		}
		w.queued, w.bytes = cut.entries, dataBytes(cut.entries)
	}
	return err
}

func hasConfiguration(logs []*raft.Log) bool {
	for _, log := range logs {
		if log.Type == raft.LogConfiguration {
			return true
		}
	}
	return false
}

func (w *WriteBehind) enqueue(logs []*raft.Log) {
	w.queued = append(w.queued, logs...)
	w.bytes += dataBytes(logs)
	w.countWaiting(len(w.queued))
}

// countWaiting says how many of the queued entries wait for the disk, from the first on; mu is held.
func (w *WriteBehind) countWaiting(n int) {
	if n > w.waiting {
		w.Entries.Begin(n - w.waiting)
	} else {
		w.Entries.End(w.waiting - n)
	}
	w.waiting = n
}

// drain returns once nothing is queued; mu is held. What the disk has refused before it tries again.
func (w *WriteBehind) drain() error {
	for w.deferred || w.writing {
		w.changed.Wait()
	}
	if len(w.queued) == 0 {
		return nil
	}
	return w.writeQueued()
}

// write is the writer's goroutine.
func (w *WriteBehind) write() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for {
		for !w.deferred && !w.closed {
			w.changed.Wait()
		}
		if !w.deferred {
			return
		}
		if err := w.writeQueued(); err != nil {
			w.deferred = false
			w.changed.Broadcast()
			w.mu.Unlock()
			w.role.Load().Failed(err)
			w.mu.Lock()
		}
	}
}

// writeQueued writes what is queued, at once; mu is held, but not while the disk works.
func (w *WriteBehind) writeQueued() error {
	logs := w.queued[:len(w.queued):len(w.queued)]
	w.countWaiting(len(w.queued))
	err := w.writeLogs(logs)
	if err == nil {
		w.bytes -= dataBytes(logs)
		if w.queued = w.queued[len(logs):]; len(w.queued) == 0 {
			w.queued, w.deferred = nil, false
		}
		w.countWaiting(len(w.queued))
	} else {
		w.countWaiting(0)
	}
	return err
}

// writeLogs has the disk store entries; mu is held, but not while the disk works.
func (w *WriteBehind) writeLogs(logs []*raft.Log) error {
	w.writing = true
	w.mu.Unlock()
	err := w.LogStore.StoreLogs(logs)
	w.mu.Lock()
	w.writing = false
	if err != nil {
		w.refusals.Add(1)
	}
	w.changed.Broadcast()
	return err
}

func dataBytes(logs []*raft.Log) (bytes int) {
	for _, log := range logs {
		bytes += len(log.Data)
	}
	return bytes
}

// Settle returns once nothing is queued. What the disk has refused before it tries again; it returns the error if that fails.
func (w *WriteBehind) Settle() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.drain()
}

// Refusals is how often the disk has refused entries, or to delete some.
func (w *WriteBehind) Refusals() uint64 { return w.refusals.Load() }

// Durable tells whether no entry up to index is queued.
func (w *WriteBehind) Durable(index uint64) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.durable(index)
}

func (w *WriteBehind) durable(index uint64) bool {
	return len(w.queued) == 0 || index < w.queued[0].Index
}

// AwaitDurable returns true once no entry up to index is queued, false if ended returns true before that.
// What makes it return true is followed by Wake.
func (w *WriteBehind) AwaitDurable(index uint64, ended func() bool) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	for !w.durable(index) {
		if ended() {
			return false
		}
		w.changed.Wait()
	}
	return true
}

// Wake makes those who wait for an entry look whether they still want it.
func (w *WriteBehind) Wake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.changed.Broadcast()
}

// GetLog implements raft.LogStore. Where Raft asks as a follower, to compare its entries with the leader's
// and acknowledge those that it has, it gets only what is durable.
func (w *WriteBehind) GetLog(index uint64, log *raft.Log) error {
	w.mu.Lock()
	if len(w.queued) == 0 || index < w.queued[0].Index {
		w.mu.Unlock()
		return w.LogStore.GetLog(index, log)
	}
	defer w.mu.Unlock()
	if !w.role.Load().Leads() {
		if err := w.drain(); err != nil {
			return err
		}
		return w.LogStore.GetLog(index, log)
	}
	if last := w.queued[len(w.queued)-1].Index; index > last {
		return raft.ErrLogNotFound
	}
	*log = *w.queued[index-w.queued[0].Index]
	return nil
}

// FirstIndex implements raft.LogStore.
func (w *WriteBehind) FirstIndex() (uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	first, err := w.LogStore.FirstIndex()
	if err == nil && first == 0 && len(w.queued) > 0 {
		first = w.queued[0].Index
	}
	return first, err
}

// LastIndex implements raft.LogStore.
func (w *WriteBehind) LastIndex() (uint64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if n := len(w.queued); n > 0 {
		return w.queued[n-1].Index, nil
	}
	return w.LogStore.LastIndex()
}

// DeleteRange implements raft.LogStore. Queued entries are forgotten without being written.
func (w *WriteBehind) DeleteRange(min, max uint64) error {
	cut, err := w.beforeDelete(min, max)
	if err != nil {
		return err
	}
	if err := w.LogStore.DeleteRange(min, max); err != nil {
		w.refusals.Add(1)
		return err
	}
	if cut.from == 0 {
		return nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.cut = cut
	return nil
}

func (w *WriteBehind) beforeDelete(min, max uint64) (cut cutEnd, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.queued) > 0 && max >= w.queued[0].Index && (w.deferred || w.writing) {
		w.changed.Wait()
	}
	if cut, err = w.end(min, max); err != nil {
		return cutEnd{}, err
	}
	return cut, w.forget(min, max)
}

func (w *WriteBehind) forget(min, max uint64) error {
	if len(w.queued) == 0 || max < w.queued[0].Index {
		return nil
	}
	first, last := w.queued[0].Index, w.queued[len(w.queued)-1].Index
	if max < last {
		return errors.New("entries that are not written yet can't be deleted out of the midst of a log")
	}
	kept := 0
	if min > first {
		kept = int(min - first)
	}
	w.bytes -= dataBytes(w.queued[kept:])
	if w.queued = w.queued[:kept:kept]; kept == 0 {
		w.queued = nil
	}
	if w.waiting > kept {
		w.countWaiting(kept)
	}
	w.changed.Broadcast()
	return nil
}
