package kv

import (
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// compactionScheduler lets the database compact as many tables at a time as it is allowed to by its own limit.
//
// Pebble's own does the same, and looks ten times a second whether more are allowed: a third of what an idle member takes of a
// processor. This one looks when that can have changed: when the database asks, when a memory table was flushed, and when a compaction
// ends.
//
//  1. At most as many run as are allowed. One that may be granted counts as running until that is decided.
//  2. A compaction that was refused is granted as soon as it may run: whoever decides on another one then decides again.
//  3. The database is called without mu held, as it locks its own mutex first, and no more after Unregister. How many it allows is
//     asked with mu held: it answers without a lock.
//
// It is safe for concurrent use, and for one database.
type compactionScheduler struct {
	db pebble.DBForCompaction

	mu       sync.Mutex
	settled  *sync.Cond // granting has become false
	running  int
	granting bool // a goroutine asks the database whether a compaction waits
	again    bool // and has to ask once more
	closed   bool
}

var (
	_ pebble.CompactionScheduler   = (*compactionScheduler)(nil)
	_ pebble.CompactionGrantHandle = (*compactionScheduler)(nil)
)

func newCompactionScheduler() *compactionScheduler {
	s := &compactionScheduler{}
	s.settled = sync.NewCond(&s.mu)
	return s
}

// Register implements pebble.CompactionScheduler.
func (s *compactionScheduler) Register(_ int, db pebble.DBForCompaction) { s.db = db }

// Unregister implements pebble.CompactionScheduler.
func (s *compactionScheduler) Unregister() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for s.granting {
		s.settled.Wait()
	}
}

// TrySchedule implements pebble.CompactionScheduler.
func (s *compactionScheduler) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false, nil
	}
	if s.running >= s.db.GetAllowedWithoutPermission() {
		s.again = true
		return false, nil
	}
	s.running++
	return true, s
}

// UpdateGetAllowedWithoutPermission implements pebble.CompactionScheduler. It is called with the database's mutex held.
func (s *compactionScheduler) UpdateGetAllowedWithoutPermission() { go s.grant() }

// Done implements pebble.CompactionGrantHandle.
func (s *compactionScheduler) Done() {
	s.mu.Lock()
	s.running--
	s.mu.Unlock()
	s.grant()
}

// grant starts what waits, as far as that is allowed.
func (s *compactionScheduler) grant() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.again = true
	if s.granting {
		return
	}
	s.granting = true
	for s.again && !s.closed && s.running < s.db.GetAllowedWithoutPermission() {
		s.again = false
		s.running++
		s.mu.Unlock()
		waits, _ := s.db.GetWaitingCompaction()
		started := waits && s.db.Schedule(s)
		s.mu.Lock()
		if started {
			s.again = true // there may be more
		} else {
			s.running--
		}
	}
	s.granting = false
	s.settled.Broadcast()
}

// Started implements pebble.CompactionGrantHandle.
func (s *compactionScheduler) Started() {}

// MeasureCPU implements pebble.CompactionGrantHandle.
func (s *compactionScheduler) MeasureCPU(pebble.CompactionGoroutineKind) {}

// CumulativeStats implements pebble.CompactionGrantHandle.
func (s *compactionScheduler) CumulativeStats(pebble.CompactionGrantHandleStats) {}
