package kv

// headerCache keeps the headers of recently used keys, so that most writes need not look at what they
// replace. It is in two generations: when the young one is full it becomes the old one, and what is used
// again comes back. Only Apply uses it.
//
// Invariant: a header in the cache is that of the key's newest version, those written by the batch that is
// being built included. It may be dropped only between batches, because a batch's own writes are nowhere
// else until it is committed.
type headerCache struct {
	limit      int // headers a generation
	young, old map[string]header
}

func newHeaderCache(headers int) *headerCache {
	limit := max(headers/2, 1)
	return &headerCache{limit: limit, young: make(map[string]header), old: map[string]header{}}
}

func (c *headerCache) get(key []byte) (header, bool) {
	if h, ok := c.young[string(key)]; ok {
		return h, true
	}
	h, ok := c.old[string(key)]
	return h, ok
}

func (c *headerCache) set(key []byte, h header) { c.young[string(key)] = h }

// rotate makes room. It is called between batches.
func (c *headerCache) rotate() {
	if len(c.young) >= c.limit {
		c.old, c.young = c.young, make(map[string]header, c.limit)
	}
}
