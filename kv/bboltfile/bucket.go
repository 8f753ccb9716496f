package bboltfile

import "bytes"

// maxDepth bounds the levels of a tree. bbolt splits pages so that each inner one has two children at least.
const maxDepth = 48

// Bucket is a named tree of keys.
type Bucket struct {
	file   *File
	root   uint64
	inline []byte // the only page of a small bucket
}

// Each calls visit for every key in their order. Key and value are valid until it returns. A bucket within
// the bucket is refused: etcd has none.
func (b *Bucket) Each(visit func(key, value []byte) error) error {
	return b.each(func(key, value []byte, isBucket bool) error {
		if isBucket {
			return damaged("a bucket lies within a bucket")
		}
		return visit(key, value)
	})
}

// walk is one pass over a tree.
//
// Invariant: keys come in strictly ascending order. So no page is walked over twice, whatever the inner pages
// say, and the walk ends; inner pages alone can't make it long, for each path is at most maxDepth of them and
// ends in a leaf that has to go on in the order, or is refused.
type walk struct {
	file  *File
	visit func(key, value []byte, isBucket bool) error
	last  []byte
	began bool
	// buffers are those of the levels, used again for each page of a level.
	buffers [maxDepth][]byte
}

func (b *Bucket) each(visit func(key, value []byte, isBucket bool) error) error {
	w := &walk{file: b.file, visit: visit}
	if b.inline == nil {
		return w.page(b.root, 0)
	}
	p, err := parsePage(b.inline)
	if err != nil {
		return err
	}
	if p.branch {
		return damaged("the page within a bucket's record has children")
	}
	return w.leaf(p)
}

func (w *walk) page(id uint64, depth int) error {
	if depth == maxDepth {
		return damaged("a tree has more than %d levels", maxDepth)
	}
	var err error
	if w.buffers[depth], err = w.file.readPage(id, w.buffers[depth]); err != nil {
		return err
	}
	p, err := parsePage(w.buffers[depth])
	if err != nil {
		return err
	}
	if !p.branch {
		if p.count == 0 && depth > 0 {
			return damaged("page %d is empty", id)
		}
		return w.leaf(p)
	}
	for i := range p.count {
		if err := w.page(p.child(i), depth+1); err != nil {
			return err
		}
	}
	return nil
}

func (w *walk) leaf(p page) error {
	for i := range p.count {
		key, value, isBucket, err := p.leaf(i)
		if err != nil {
			return err
		}
		if w.began && bytes.Compare(key, w.last) <= 0 {
			return damaged("its keys are out of order")
		}
		w.last, w.began = append(w.last[:0], key...), true
		if err := w.visit(key, value, isBucket); err != nil {
			return err
		}
	}
	return nil
}
