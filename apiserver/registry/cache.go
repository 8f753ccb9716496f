package registry

import (
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/google/btree"

	"github.com/ctlplane/ctlplane/api/immutable"
)

// entry is one version of one object.
type entry struct {
	key      string // the object's place in its kind: "namespace/name", or "name"
	revision int64  // of the write that made this version
	object   Object // shared, never changed
}

// change is what one write did to one object. It is shared by all watchers, never changed.
type change struct {
	revision int64
	was      *entry // nil: the object is new
	now      *entry // nil: the object is gone
	// last is the deleted object as it was, bearing the revision of its deletion. Nil unless it is gone.
	last Object
}

// cache holds all objects of one kind, decoded, and the changes that lately led there.
//
//  1. items is the kind's state at revision: every write at or below it has been taken in, none above.
//  2. recent has every change above since, in order of revision.
//  3. A change is queued at its watchers before revision reaches it. So a watcher that reads revision
//     and then finds its queue empty has passed on everything up to there.
//  4. nodes has every item that has a node, under its name.
//  5. unreadable has what the store holds beside items.
//  6. Objects, entries and changes are never modified once they are in. Tests hold everybody to it: see
//     package immutable.
type cache struct {
	kind *kind

	mu         sync.Mutex
	items      *btree.BTreeG[*entry]
	view       *btree.BTreeG[*entry] // of items, until the next change; nil when there is none
	unreadable unreadable
	revision   int64
	since      int64
	recent     ring
	watchers   watcherSet
	nodes      map[string]map[string]*entry // by node, then by key
}

// btreeDegree is a width at which nodes are a few cache lines.
const btreeDegree = 32

func newCache(k *kind, history int) *cache {
	return &cache{
		kind: k, items: newItems(), unreadable: unreadable{}, recent: newRing(history), watchers: newWatcherSet(), nodes: map[string]map[string]*entry{},
	}
}

func newItems() *btree.BTreeG[*entry] {
	return btree.NewG(btreeDegree, func(a, b *entry) bool { return a.key < b.key })
}

// reset replaces the whole state by what the store holds at revision, and ends all watches: what
// happened in between is not known.
func (c *cache) reset(entries []*entry, broken unreadable, revision int64) {
	items := newItems()
	for _, e := range entries {
		items.ReplaceOrInsert(e)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.items, c.view, c.unreadable = items, nil, broken
	c.nodes = map[string]map[string]*entry{}
	for _, e := range entries {
		c.reindex(nil, e)
	}
	c.revision, c.since = revision, revision
	c.recent.clear()
	c.watchers.expireAll()
}

// write is what a store event did to one object.
type write struct {
	key      string
	revision int64
	now      *entry // nil: deleted, or unreadable
	// unreadable is why the object can't be decoded.
	unreadable error
}

// apply takes in writes, in order of revision, and with them everything up to revision. All writes of
// one revision come in one call.
func (c *cache) apply(writes []write, revision int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range writes {
		if w.unreadable != nil {
			c.noteUnreadable(w)
			continue
		}
		delete(c.unreadable, w.key)
		if w.now != nil {
			was, _ := c.items.ReplaceOrInsert(w.now)
			c.reindex(was, w.now)
			c.record(&change{revision: w.revision, was: was, now: w.now})
		} else if was, ok := c.items.Delete(&entry{key: w.key}); ok {
			c.reindex(was, nil)
			c.record(&change{revision: w.revision, was: was, last: lastState(was.object, w.revision)})
		}
	}
	c.revision = max(c.revision, revision)
}

// reindex moves an object, in the index by node, from the node of was to that of now.
func (c *cache) reindex(was, now *entry) {
	node, ok := c.kind.fields[nodeNameField]
	if !ok {
		return
	}
	if was != nil {
		if name := node(was.object); name != "" {
			delete(c.nodes[name], was.key)
			if len(c.nodes[name]) == 0 {
				delete(c.nodes, name)
			}
		}
	}
	if now != nil {
		if name := node(now.object); name != "" {
			if c.nodes[name] == nil {
				c.nodes[name] = map[string]*entry{}
			}
			c.nodes[name][now.key] = now
		}
	}
}

// onNode lists the objects on a node, in no order.
func (c *cache) onNode(name string) []*entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Collect(maps.Values(c.nodes[name]))
}

// lastState is a deleted object as watchers see it: as it was, at the revision of its deletion.
func lastState(obj Object, revision int64) Object {
	last := shallowCopy(obj)
	last.SetResourceVersion(formatRevision(revision))
	immutable.Watch(last)
	return last
}

func (c *cache) record(ch *change) {
	c.view = nil
	if dropped := c.recent.push(ch); dropped != nil {
		c.since = dropped.revision
	}
	c.watchers.queue(c.kind, ch)
}

// get finds an object's cached version; nil when there is none.
func (c *cache) get(key string) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, _ := c.items.Get(&entry{key: key})
	return e
}

// each calls its argument for entries in the order of their keys, until that answers false.
type each func(func(*entry) bool)

// all gives every object that can be read.
func (c *cache) all() each {
	c.mu.Lock()
	defer c.mu.Unlock()
	items := c.viewLocked()
	return func(f func(*entry) bool) { items.Ascend(f) }
}

// candidates gives the entries that a selection may have, from the key start on, and the revision that
// they are of. What the selection pins is looked up; else the candidates are its whole namespace.
func (c *cache) candidates(s selection, start string) (each, int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.checkReadable(s); err != nil {
		return nil, 0, err
	}
	return c.candidatesLocked(s, start), c.revision, nil
}

func (c *cache) candidatesLocked(s selection, start string) each {
	var few []*entry
	switch t := s.trigger(); {
	case t.field == nodeNameField && t.value != "":
		few = slices.SortedFunc(maps.Values(c.nodes[t.value]), func(a, b *entry) int { return strings.Compare(a.key, b.key) })
	case t.field == nameField && (s.namespace != "" || !s.kind.Namespaced):
		if e, ok := c.items.Get(&entry{key: s.kind.key(s.namespace, t.value)}); ok {
			few = []*entry{e}
		}
	default:
		items := c.viewLocked()
		return func(f func(*entry) bool) { ascend(items, s.prefix(), start, f) }
	}
	return func(f func(*entry) bool) {
		for _, e := range few {
			if e.key >= start && !f(e) {
				return
			}
		}
	}
}

func (c *cache) viewLocked() *btree.BTreeG[*entry] {
	if c.view == nil {
		c.view = c.items.Clone()
	}
	return c.view
}

// currentRevision is the revision that the state is at.
func (c *cache) currentRevision() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.revision
}

// ascend calls f for the entries of a tree whose key starts with prefix and is not below start, in order.
func ascend(items *btree.BTreeG[*entry], prefix, start string, f func(*entry) bool) {
	items.AscendGreaterOrEqual(&entry{key: max(prefix, start)}, func(e *entry) bool {
		return strings.HasPrefix(e.key, prefix) && f(e)
	})
}

// ring keeps the last changes, up to a fixed number.
type ring struct {
	changes []*change
	first   int // of the oldest, when full
	limit   int
}

func newRing(limit int) ring { return ring{limit: limit} }

// push adds a change and gives back the one that had to go for it.
func (r *ring) push(ch *change) (dropped *change) {
	if len(r.changes) < r.limit {
		r.changes = append(r.changes, ch)
		return nil
	}
	dropped = r.changes[r.first]
	r.changes[r.first] = ch
	r.first = (r.first + 1) % r.limit
	return dropped
}

// after gives the changes above revision, oldest first.
func (r *ring) after(revision int64) []*change {
	var found []*change
	for i := len(r.changes) - 1; i >= 0; i-- {
		ch := r.changes[(r.first+i)%len(r.changes)]
		if ch.revision <= revision {
			break
		}
		found = append(found, ch)
	}
	for i, j := 0, len(found)-1; i < j; i, j = i+1, j-1 {
		found[i], found[j] = found[j], found[i]
	}
	return found
}

func (r *ring) clear() { *r = newRing(r.limit) }
