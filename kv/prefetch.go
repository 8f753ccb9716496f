package kv

import (
	"bytes"
	"slices"
)

// prefetchFrom is the number of commands from which on it pays to look their keys up in advance.
const prefetchFrom = 8

// prefetch brings the headers of the keys that the commands name into the cache, in the order of the keys:
// neighbours lie in the same tables and blocks, and one seek makes the next one cheap. It never changes what
// the commands do.
func (w *writer) prefetch(entries []Entry) error {
	commands := 0
	for i := range entries {
		commands += len(entries[i].Commands)
	}
	if commands < prefetchFrom {
		return nil
	}
	var missing [][]byte
	cache := w.store.apply.headers
	for i := range entries {
		if entries[i].Index <= w.state.Applied {
			continue
		}
		for j := range entries[i].Commands {
			entries[i].Commands[j].eachKey(func(key []byte) {
				if _, ok := cache.Get(key); !ok && len(key) > 0 {
					missing = append(missing, key)
				}
			})
		}
	}
	slices.SortFunc(missing, bytes.Compare)
	for _, key := range missing {
		if _, err := w.header(key); err != nil {
			return err
		}
	}
	return nil
}

// eachKey calls visit for the single keys that the command will most likely look at.
func (c *Command) eachKey(visit func(key []byte)) {
	switch {
	case c.Put != nil:
		visit(c.Put.Key)
	case c.DeleteRange != nil && len(c.DeleteRange.RangeEnd) == 0:
		visit(c.DeleteRange.Key)
	case c.Txn != nil:
		for _, compare := range c.Txn.Compare {
			if len(compare.GetRangeEnd()) == 0 {
				visit(compare.GetKey())
			}
		}
		for _, op := range c.Txn.Success {
			if p := op.GetRequestPut(); p != nil {
				visit(p.Key)
			}
		}
	}
}
