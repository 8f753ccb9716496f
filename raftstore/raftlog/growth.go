package raftlog

import (
	"sync"

	"github.com/hashicorp/raft"
)

// Growth counts what a log was given since it was cut. It is safe for concurrent use.
type Growth struct {
	limit int64
	much  chan struct{} // has a token once the limit is reached

	mu    sync.Mutex
	since Size
}

// Size is that of a number of entries: Bytes are those of their data.
type Size struct{ Entries, Bytes int64 }

// NewGrowth counts up to a limit of bytes, and on.
func NewGrowth(limit int64) *Growth { return &Growth{limit: limit, much: make(chan struct{}, 1)} }

// Since is what was stored since the log was cut.
func (g *Growth) Since() Size {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.since
}

// Much has a token when that has reached the limit, once until the log is cut: whoever fails to cut it tries again at a time
// of his own.
func (g *Growth) Much() <-chan struct{} { return g.much }

// Cut says that the log was cut. before is what Since was when that began: what was stored meanwhile counts from now on.
func (g *Growth) Cut(before Size) {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.much: // it was of what is cut off now
	default:
	}
	now := Size{g.since.Entries - before.Entries, g.since.Bytes - before.Bytes}
	g.since = Size{}
	g.add(now)
}

// add adds what was stored. mu is held.
func (g *Growth) add(s Size) {
	before := g.since.Bytes
	g.since.Entries, g.since.Bytes = g.since.Entries+s.Entries, before+s.Bytes
	if before < g.limit && g.since.Bytes >= g.limit {
		select {
		case g.much <- struct{}{}:
		default:
		}
	}
}

// countingStore counts what goes into a log.
type countingStore struct {
	raft.LogStore
	growth *Growth
}

// StoreLogs implements raft.LogStore.
func (s countingStore) StoreLogs(logs []*raft.Log) error {
	stored := Size{Entries: int64(len(logs))}
	for _, log := range logs {
		stored.Bytes += int64(len(log.Data))
	}
	if err := s.LogStore.StoreLogs(logs); err != nil {
		return err
	}
	s.growth.mu.Lock()
	defer s.growth.mu.Unlock()
	s.growth.add(stored)
	return nil
}

// StoreLog implements raft.LogStore.
func (s countingStore) StoreLog(log *raft.Log) error { return s.StoreLogs([]*raft.Log{log}) }

// IsMonotonic implements raft.MonotonicLogStore.
func (s countingStore) IsMonotonic() bool {
	store, ok := s.LogStore.(raft.MonotonicLogStore)
	return ok && store.IsMonotonic()
}
