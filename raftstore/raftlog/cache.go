package raftlog

import (
	"sync"

	"github.com/hashicorp/raft"
)

// logCache keeps the newest entries of a log store in memory, for replication and for apply, which both
// read what was just written. Unlike raft.LogCache it is bounded by bytes (an entry of ours may be a
// megabyte) and survives the log being cut at its old end.
//
// Invariant: the entries held are consecutive, and all are in the store beneath. They are copies: what Raft stores
// is a part of its future, which holds the answers to all of an entry's commands.
type logCache struct {
	raft.LogStore
	limit int

	mu      sync.RWMutex
	first   uint64 // index of entries[0]
	entries []raft.Log
	bytes   int
}

func newLogCache(store raft.LogStore, limit int) *logCache {
	return &logCache{LogStore: store, limit: limit}
}

// IsMonotonic implements raft.MonotonicLogStore: whether the store beneath refuses gaps.
func (c *logCache) IsMonotonic() bool {
	store, ok := c.LogStore.(raft.MonotonicLogStore)
	return ok && store.IsMonotonic()
}

func (c *logCache) GetLog(index uint64, log *raft.Log) error {
	c.mu.RLock()
	if index >= c.first && index < c.first+uint64(len(c.entries)) {
		*log = c.entries[index-c.first]
		c.mu.RUnlock()
		return nil
	}
	c.mu.RUnlock()
	return c.LogStore.GetLog(index, log)
}

func (c *logCache) StoreLog(log *raft.Log) error { return c.StoreLogs([]*raft.Log{log}) }

func (c *logCache) StoreLogs(logs []*raft.Log) error {
	if err := c.LogStore.StoreLogs(logs); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, log := range logs {
		if log.Index != c.first+uint64(len(c.entries)) {
			c.reset(log.Index)
		}
		c.entries = append(c.entries, *log)
		c.bytes += len(log.Data)
	}
	drop := 0
	for c.bytes > c.limit && drop < len(c.entries)-1 {
		c.bytes -= len(c.entries[drop].Data)
		c.entries[drop] = raft.Log{}
		drop++
	}
	c.entries, c.first = c.entries[drop:], c.first+uint64(drop)
	return nil
}

// DeleteRange forgets what it overlaps and what follows: a cut at the new end takes the tail away, and a
// cut at the old end that reaches into the cache leaves only entries after it.
func (c *logCache) DeleteRange(min, max uint64) error {
	c.mu.Lock()
	last := c.first + uint64(len(c.entries)) // one past
	switch {
	case len(c.entries) == 0 || max < c.first || min >= last:
	case min <= c.first && max < last-1:
		for ; c.first <= max; c.first++ {
			c.bytes -= len(c.entries[0].Data)
			c.entries[0] = raft.Log{}
			c.entries = c.entries[1:]
		}
	default:
		c.reset(0)
	}
	c.mu.Unlock()
	return c.LogStore.DeleteRange(min, max)
}

func (c *logCache) reset(first uint64) {
	c.first, c.entries, c.bytes = first, nil, 0
}
