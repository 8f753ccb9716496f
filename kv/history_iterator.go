package kv

import "github.com/cockroachdb/pebble/v2"

// historyIterator goes through the changes of some revisions in their order.
//
// While valid, rev and change are those that it is at; the change's key is valid until it moves. What moves it returns valid.
// It is not valid at the end, nor after a failure, of which err tells.
type historyIterator struct {
	historyRecord
	from, to int64
	records  *pebble.Iterator
	valid    bool
	err      error
}

// newHistoryIterator makes one over the revisions from up to, and with, to. The caller closes it.
func newHistoryIterator(reader pebble.Reader, from, to int64) (*historyIterator, error) {
	_, end := sectionBounds(sectionHistory)
	records, err := reader.NewIter(&pebble.IterOptions{LowerBound: appendHistoryKey(nil, from, 0), UpperBound: end})
	if err != nil {
		return nil, err
	}
	return &historyIterator{from: from, to: to, records: records}, nil
}

func (h *historyIterator) close() error { return h.records.Close() }

// first goes to the first change.
func (h *historyIterator) first() bool { return h.seek(h.from) }

// seek goes to the first change of a revision, or of what follows.
func (h *historyIterator) seek(rev int64) bool {
	h.enter(h.records.SeekGE(appendHistoryKey(nil, rev, 0)))
	for h.valid && h.rev < rev { // the record may begin before
		h.next()
	}
	return h.valid
}

// next goes to the next change.
func (h *historyIterator) next() bool {
	var more bool
	if more, h.err = h.advance(); !more && h.err == nil {
		return h.enter(h.records.Next())
	}
	h.valid = more && h.err == nil && h.rev <= h.to
	return h.valid
}

// last goes to the last change.
func (h *historyIterator) last() bool {
	// The record that ends after revision to may begin before it: the last change is then in there, and else in the record before.
	if h.enter(h.records.SeekGE(appendHistoryKey(nil, h.to+1, 0))); h.err == nil && !h.valid {
		h.enter(h.records.Prev())
	}
	for h.valid {
		at := h.historyRecord
		more, err := h.advance()
		if h.err = err; err != nil {
			h.valid = false
		} else if !more || h.rev > h.to {
			h.historyRecord, h.valid = at, at.rev >= h.from
			break
		}
	}
	return h.valid
}

// enter goes to the first change of the record at which the iterator of the records is, if it is at one.
func (h *historyIterator) enter(found bool) bool {
	h.valid = false
	if h.err = h.records.Error(); !found {
		return false
	}
	last, _, ok := decodeHistoryKey(h.records.Key())
	if !ok {
		h.err = errCorruptRecord
		return false
	}
	var b []byte
	if b, h.err = h.records.ValueAndErr(); h.err != nil {
		return false
	}
	if h.err = h.begin(last, b); h.err != nil {
		return false
	}
	return h.next()
}
