package kv

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// Metrics are figures about a store. Sizes are bytes.
type Metrics struct {
	// Keys is the number of living keys, LiveBytes the size of their keys and values.
	Keys, LiveBytes int64
	// StoredBytes is what Store.StoredBytes tells: the history included that can still be read.
	StoredBytes int64
	// DiskBytes is what the database takes on the disk; InUseBytes what of it is not waiting to be
	// reclaimed.
	DiskBytes, InUseBytes int64
	// MemTableBytes and CacheBytes are Pebble's memory.
	MemTableBytes, CacheBytes int64
	Revision, CompactRevision int64
	// CompactedRevision is how far the background compaction came.
	CompactedRevision          int64
	AppliedIndex, FlushedIndex uint64
	Leases                     int
	// AuthRevision is that of the users and roles.
	AuthRevision uint64
	// Watchers and WatchStreams count what is open; SlowWatchers those of them that are catching up.
	Watchers, WatchStreams, SlowWatchers int
	// WatchTailBytes is the memory of the recent events kept for watchers.
	WatchTailBytes int
	// Compactions counts Pebble's
	// background compactions; ReadAmplification is the tables that a read may have to look into.
	Compactions       int64
	ReadAmplification int

	// What the store did since it was opened. Operations of transactions count as well as those that stand alone, but for
	// reads, of which only the latter do.
	Ranges, Puts, Deletes, Txns uint64
	// PutBytes are the keys and values of the puts.
	PutBytes uint64
	// WatchEvents were given to watchers as they happened; PendingEvents of them wait to be taken.
	WatchEvents   uint64
	PendingEvents int
	// CompactedVersions were removed by compactions.
	CompactedVersions         uint64
	LeaseGrants, LeaseRevokes uint64
}

// operations are what a batch did.
type operations struct{ puts, putBytes, deletes, txns uint64 }

// counters count what a store does.
type counters struct{ ranges, puts, putBytes, deletes, txns, compacted atomic.Uint64 }

// add adds a batch, so that what is counted costs a batch and not an operation.
func (c *counters) add(o operations) {
	c.puts.Add(o.puts)
	c.putBytes.Add(o.putBytes)
	c.deletes.Add(o.deletes)
	c.txns.Add(o.txns)
}

// Metrics returns the present figures. Those of Pebble are of before where it does not answer at once, as while its manifest waits for
// room on a full disk, and zero once the store is closed.
func (s *Store) Metrics() Metrics {
	st := s.current.Load()
	m := Metrics{
		Keys: st.Keys, LiveBytes: st.Bytes, StoredBytes: st.Stored(),
		Revision: st.Revision, CompactRevision: st.Compact, CompactedRevision: s.compact.progress(),
		AppliedIndex: st.Applied, FlushedIndex: s.FlushedIndex(), AuthRevision: s.auth.get().revision,
	}
	s.leases.mu.RLock()
	m.Leases, m.LeaseGrants, m.LeaseRevokes = len(s.leases.granted), s.leases.grants, s.leases.revokes
	s.leases.mu.RUnlock()
	c := &s.counters
	m.Ranges, m.Puts, m.Deletes, m.Txns = c.ranges.Load(), c.puts.Load(), c.deletes.Load(), c.txns.Load()
	m.PutBytes, m.CompactedVersions = c.putBytes.Load(), c.compacted.Load()
	s.hub.metrics(&m)
	p := s.figures.get(s.askDatabase)
	if p == nil {
		return m
	}
	m.DiskBytes = int64(p.DiskSpaceUsage())
	m.InUseBytes = m.DiskBytes - int64(p.Table.ObsoleteSize) - int64(p.Table.ZombieSize)
	m.MemTableBytes, m.CacheBytes = int64(p.MemTable.Size), p.BlockCache.Size
	m.Compactions, m.ReadAmplification = p.Compact.Count, p.ReadAmp()
	return m
}

// askDatabase returns what Pebble says of itself; nil once the store is closed.
func (s *Store) askDatabase() *pebble.Metrics {
	release, err := s.use()
	if err != nil {
		return nil
	}
	defer release()
	return s.db.Metrics()
}

// figures are what Pebble has said of itself. It answers under its manifest's lock. Whoever asks waits for a moment.
type figures struct {
	mu       sync.Mutex
	latest   *pebble.Metrics
	answered chan struct{} // closed by the answer that is being waited for; nil: nobody has asked
}

const figuresPatience = 100 * time.Millisecond

// get returns the answer, or the one before if it does not come.
func (f *figures) get(ask func() *pebble.Metrics) *pebble.Metrics {
	f.mu.Lock()
	answered := f.answered
	if answered == nil {
		answered = make(chan struct{})
		f.answered = answered
		go func() {
			defer close(answered)
			latest := ask()
			f.mu.Lock()
			defer f.mu.Unlock()
			f.latest, f.answered = latest, nil
		}()
	}
	f.mu.Unlock()
	patience := time.NewTimer(figuresPatience)
	defer patience.Stop()
	select {
	case <-answered:
	case <-patience.C:
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.latest
}
