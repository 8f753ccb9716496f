package clienttest

import (
	"cmp"
	"fmt"
	"hash/maphash"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/watch"

	"github.com/ctlplane/ctlplane/api/resource"
	"github.com/ctlplane/ctlplane/client"
)

// key names an object within its kind.
type key struct{ namespace, name string }

func keyOf(obj client.Object) key { return key{obj.GetNamespace(), obj.GetName()} }

// change is one step of a kind's history: before is nil for a creation, after's type says what happened.
type change struct {
	version       int64
	kind          watch.EventType
	before, after client.Object // for a deletion, after is the last state with the deletion's version
	sum           uint64        // of after's encoding, as it was stored
}

// table holds one kind: its objects and the changes after version compacted.
type table struct {
	objects   map[key]client.Object
	history   []change
	compacted int64
}

// table finds or makes a kind's table; the caller holds the lock.
func (c *Cluster) table(info *resource.Info) *table {
	t, ok := c.tables[info]
	if !ok {
		t = &table{objects: map[key]client.Object{}}
		c.tables[info] = t
	}
	return t
}

// selected gives the matching objects, sorted.
func (t *table) selected(selects func(client.Object) bool) []client.Object {
	var items []client.Object
	for _, obj := range t.objects {
		if selects(obj) {
			items = append(items, obj)
		}
	}
	slices.SortFunc(items, func(a, b client.Object) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
	return items
}

// after gives the changes after a version, which must not be compacted.
func (t *table) after(version int64) []change {
	i, _ := slices.BinarySearchFunc(t.history, version+1, func(c change, v int64) int { return cmp.Compare(c.version, v) })
	return t.history[i:]
}

// commit stores a change under the next version and wakes who waits. A nil after removes before.
// It owns after from here on; the caller holds the lock.
func (c *Cluster) commit(info *resource.Info, before, after client.Object) {
	c.version++
	t := c.table(info)
	kind := watch.Modified
	switch {
	case before == nil:
		kind = watch.Added
	case after == nil:
		kind = watch.Deleted
		after = before.DeepCopyObject().(client.Object)
	}
	after.SetResourceVersion(formatVersion(c.version))
	if kind == watch.Deleted {
		delete(t.objects, keyOf(after))
	} else {
		t.objects[keyOf(after)] = after
	}
	t.history = append(t.history, change{version: c.version, kind: kind, before: before, after: after, sum: c.sum(after)})
	close(c.changed)
	c.changed = make(chan struct{})
}

// CheckUnmutated fails when somebody has written to an object that was read from the cluster, or came
// from a watch: such objects are shared, and have to be copied first. It looks at all of history.
func (c *Cluster) CheckUnmutated() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for info, t := range c.tables {
		for _, change := range t.history {
			if c.sum(change.after) != change.sum {
				return fmt.Errorf("somebody wrote to the shared %s %s/%s of version %d", info.Kind, change.after.GetNamespace(), change.after.GetName(), change.version)
			}
		}
	}
	return nil
}

// sum tells states of an object apart.
func (c *Cluster) sum(obj client.Object) uint64 {
	message, ok := obj.(interface{ Marshal() ([]byte, error) })
	if !ok {
		return 0
	}
	encoded, err := message.Marshal()
	if err != nil {
		return 0
	}
	return maphash.Bytes(c.seed, encoded)
}

func formatVersion(v int64) string { return strconv.FormatInt(v, 10) }
