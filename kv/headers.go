package kv

// headerCache keeps the headers of recently used keys, so that most writes need not look at what they
// replace. It is in two generations: when the young one is full it becomes the old one, and what is used
// again comes back. It is bounded by bytes, because keys may be long. Only Apply uses it.
//
// Invariants:
//  1. A header in the cache is that of the key's newest version, those written by the batch that is being
//     built included. It may be dropped only between batches, because a batch's own writes are nowhere
//     else until it is committed.
//  2. Every key that an entry after the index since has changed is in the cache. So once that index is
//     flushed, a key that isn't here need not be looked for in the memory tables, which have no filters
//     and are the dearest place to find nothing.
type headerCache struct {
	limit      int // bytes a generation, by headerBytes
	young, old *headerTable

	since, youngSince uint64
}

// headerBytes is about what a key of the usual length takes with its header.
const headerBytes = 96

// newHeaderCache makes an empty cache, after the entry at index applied.
func newHeaderCache(headers int, applied uint64) *headerCache {
	return &headerCache{
		limit: headers / 2 * headerBytes, young: newHeaderTable(), old: newHeaderTable(),
		since: applied, youngSince: applied,
	}
}

func (c *headerCache) get(key []byte) (header, bool) {
	if h, ok := c.young.get(key); ok {
		return h, true
	}
	return c.old.get(key)
}

func (c *headerCache) set(key []byte, h header) { c.young.set(key, h) }

// rotate makes room. It is called between batches, when the entry at index applied is the last one.
func (c *headerCache) rotate(applied uint64) {
	if c.young.bytes >= c.limit {
		c.old.reset()
		c.old, c.young = c.young, c.old
		c.since, c.youngSince = c.youngSince, applied
	}
}

// coversUnflushed tells whether every key that isn't in the cache can be looked for in the tables on disk
// alone.
func (c *headerCache) coversUnflushed(s *Store) bool {
	return c.since == 0 || s.FlushedIndex() >= c.since
}
