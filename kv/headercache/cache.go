// Package headercache remembers what is known of keys without their values.
package headercache

import "github.com/ctlplane/ctlplane/kv/layout"

// Cache keeps the headers of recently used keys, so that most writes need not look at what they
// replace. It is in two generations: when the young one is full it becomes the old one, and what is used
// again comes back. It is bounded by bytes, because keys may be long. It is for one goroutine.
//
// Invariants:
//  1. A header in the cache is that of the key's newest version, those written by the batch that is being
//     built included. It may be dropped only between batches, because a batch's own writes are nowhere
//     else until it is committed.
//  2. Every key that an entry after the index since has changed is in the cache. So once that index is
//     flushed, a key that isn't here need not be looked for in the memory tables, which have no filters
//     and are the dearest place to find nothing.
type Cache struct {
	limit      int // bytes a generation, by headerBytes
	young, old *table

	since, youngSince uint64
}

// headerBytes is about what a key of the usual length takes with its header.
const headerBytes = 96

// New makes an empty cache of about so many headers of keys of the usual length, after the entry at index applied.
func New(headers int, applied uint64) *Cache {
	return &Cache{
		limit: headers / 2 * headerBytes, young: newTable(), old: newTable(),
		since: applied, youngSince: applied,
	}
}

// Get returns the header of a key that is in the cache.
func (c *Cache) Get(key []byte) (layout.Header, bool) {
	if h, ok := c.young.get(key); ok {
		return h, true
	}
	return c.old.get(key)
}

// Set keeps the header of a key's newest version.
func (c *Cache) Set(key []byte, h layout.Header) { c.young.set(key, h) }

// Rotate makes room. It is called between batches, when the entry at index applied is the last one.
func (c *Cache) Rotate(applied uint64) {
	if c.young.bytes >= c.limit {
		c.old.reset()
		c.old, c.young = c.young, c.old
		c.since, c.youngSince = c.youngSince, applied
	}
}

// CoversUnflushed tells whether every key that isn't in the cache can be looked for in the tables on disk alone, which have all
// up to, and with, the entry at index flushed.
func (c *Cache) CoversUnflushed(flushed uint64) bool {
	return c.since == 0 || flushed >= c.since
}
