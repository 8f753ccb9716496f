package kv

import (
	"bytes"
	"math/rand/v2"
)

// watcherIndex finds the watchers of a key without looking at the others: those of single keys in a map,
// those of ranges in a treap that is ordered by the range's start and knows, for each subtree, how far its
// ranges reach. Watchers of one range share a node.
type watcherIndex struct {
	points map[string]watcherSet
	root   *rangeNode
	size   int
}

type watcherSet map[*watcher]struct{}

type rangeNode struct {
	keys        keyRange
	watchers    watcherSet
	priority    uint32
	left, right *rangeNode
	// reach is the greatest end of a range in this subtree; nil is no bound.
	reach []byte
}

func (x *watcherIndex) insert(w *watcher) {
	x.size++
	if w.keys.point {
		if x.points == nil {
			x.points = map[string]watcherSet{}
		}
		set := x.points[string(w.keys.lo)]
		if set == nil {
			set = watcherSet{}
			x.points[string(w.keys.lo)] = set
		}
		set[w] = struct{}{}
		return
	}
	x.root = x.root.insert(w)
}

func (x *watcherIndex) remove(w *watcher) {
	x.size--
	if !w.keys.point {
		x.root = x.root.remove(w)
		return
	}
	key := string(w.keys.lo)
	delete(x.points[key], w)
	if len(x.points[key]) == 0 {
		delete(x.points, key)
	}
}

// match calls visit for every watcher of key. visit must not change the index.
func (x *watcherIndex) match(key []byte, visit func(*watcher)) {
	for w := range x.points[string(key)] {
		visit(w)
	}
	x.root.match(key, visit)
}

// each calls visit for every watcher.
func (x *watcherIndex) each(visit func(*watcher)) {
	for _, set := range x.points {
		for w := range set {
			visit(w)
		}
	}
	x.root.each(visit)
}

func (n *rangeNode) each(visit func(*watcher)) {
	if n == nil {
		return
	}
	n.left.each(visit)
	for w := range n.watchers {
		visit(w)
	}
	n.right.each(visit)
}

func (n *rangeNode) match(key []byte, visit func(*watcher)) {
	if n == nil || (n.reach != nil && bytes.Compare(key, n.reach) >= 0) {
		return
	}
	n.left.match(key, visit)
	if bytes.Compare(key, n.keys.lo) < 0 {
		return // and so before everything on the right
	}
	if n.keys.contains(key) {
		for w := range n.watchers {
			visit(w)
		}
	}
	n.right.match(key, visit)
}

func (n *rangeNode) insert(w *watcher) *rangeNode {
	if n == nil {
		return &rangeNode{keys: w.keys, watchers: watcherSet{w: {}}, priority: rand.Uint32(), reach: w.keys.hi}
	}
	switch c := compareRanges(w.keys, n.keys); {
	case c == 0:
		n.watchers[w] = struct{}{}
	case c < 0:
		n.left = n.left.insert(w)
		if n.left.priority > n.priority {
			return n.rotateRight()
		}
	default:
		n.right = n.right.insert(w)
		if n.right.priority > n.priority {
			return n.rotateLeft()
		}
	}
	n.update()
	return n
}

func (n *rangeNode) remove(w *watcher) *rangeNode {
	if n == nil {
		return nil
	}
	switch c := compareRanges(w.keys, n.keys); {
	case c < 0:
		n.left = n.left.remove(w)
	case c > 0:
		n.right = n.right.remove(w)
	default:
		delete(n.watchers, w)
		if len(n.watchers) == 0 {
			return mergeNodes(n.left, n.right)
		}
	}
	n.update()
	return n
}

// mergeNodes joins two subtrees of which every range of a is before every one of b.
func mergeNodes(a, b *rangeNode) *rangeNode {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	case a.priority > b.priority:
		a.right = mergeNodes(a.right, b)
		a.update()
		return a
	}
	b.left = mergeNodes(a, b.left)
	b.update()
	return b
}

func (n *rangeNode) rotateRight() *rangeNode {
	top := n.left
	n.left, top.right = top.right, n
	n.update()
	top.update()
	return top
}

func (n *rangeNode) rotateLeft() *rangeNode {
	top := n.right
	n.right, top.left = top.left, n
	n.update()
	top.update()
	return top
}

func (n *rangeNode) update() {
	n.reach = n.keys.hi
	for _, child := range [...]*rangeNode{n.left, n.right} {
		if child != nil && compareEnds(child.reach, n.reach) > 0 {
			n.reach = child.reach
		}
	}
}

func compareRanges(a, b keyRange) int {
	if c := bytes.Compare(a.lo, b.lo); c != 0 {
		return c
	}
	return compareEnds(a.hi, b.hi)
}

// compareEnds compares ends of ranges, of which nil is the greatest.
func compareEnds(a, b []byte) int {
	switch {
	case a == nil && b == nil:
		return 0
	case a == nil:
		return 1
	case b == nil:
		return -1
	}
	return bytes.Compare(a, b)
}
