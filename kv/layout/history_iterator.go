package layout

import "github.com/cockroachdb/pebble/v2"

// HistoryIterator goes through the changes of some revisions in their order. It is for one goroutine.
//
// While Valid, Rev and Change are those that it is at; the change's key is valid until it moves. What moves it returns valid.
// It is not valid at the end, nor after a failure, of which Err tells.
type HistoryIterator struct {
	historyRecord
	from, to int64
	records  *pebble.Iterator
	Valid    bool
	Err      error
}

// NewHistoryIterator makes one over the revisions from up to, and with, to. The caller closes it.
func NewHistoryIterator(reader pebble.Reader, from, to int64) (*HistoryIterator, error) {
	_, end := SectionBounds(SectionHistory)
	records, err := reader.NewIter(&pebble.IterOptions{LowerBound: AppendHistoryKey(nil, from, 0), UpperBound: end})
	if err != nil {
		return nil, err
	}
	return &HistoryIterator{from: from, to: to, records: records}, nil
}

// Close releases what it reads from, and has to be called.
func (h *HistoryIterator) Close() error { return h.records.Close() }

// First goes to the first change.
func (h *HistoryIterator) First() bool { return h.SeekRevision(h.from) }

// SeekRevision goes to the first change of a revision, or of what follows.
func (h *HistoryIterator) SeekRevision(rev int64) bool {
	h.enter(h.records.SeekGE(AppendHistoryKey(nil, rev, 0)))
	for h.Valid && h.Rev < rev { // the record may begin before
		h.Next()
	}
	return h.Valid
}

// Next goes to the next change.
func (h *HistoryIterator) Next() bool {
	var more bool
	if more, h.Err = h.advance(); !more && h.Err == nil {
		return h.enter(h.records.Next())
	}
	h.Valid = more && h.Err == nil && h.Rev <= h.to
	return h.Valid
}

// Last goes to the last change.
func (h *HistoryIterator) Last() bool {
	// The record that ends after revision to may begin before it: the last change is then in there, and else in the record before.
	if h.enter(h.records.SeekGE(AppendHistoryKey(nil, h.to+1, 0))); h.Err == nil && !h.Valid {
		h.enter(h.records.Prev())
	}
	for h.Valid {
		at := h.historyRecord
		more, err := h.advance()
		if h.Err = err; err != nil {
			h.Valid = false
		} else if !more || h.Rev > h.to {
			h.historyRecord, h.Valid = at, at.Rev >= h.from
			break
		}
	}
	return h.Valid
}

// enter goes to the first change of the record at which the iterator of the records is, if it is at one.
func (h *HistoryIterator) enter(found bool) bool {
	h.Valid = false
	if h.Err = h.records.Error(); !found {
		return false
	}
	last, _, ok := decodeHistoryKey(h.records.Key())
	if !ok {
		h.Err = ErrCorruptRecord
		return false
	}
	var b []byte
	if b, h.Err = h.records.ValueAndErr(); h.Err != nil {
		return false
	}
	if h.Err = h.begin(last, b); h.Err != nil {
		return false
	}
	return h.Next()
}

// Sub is the number of the last change of the present record, among those of its revision.
func (h *HistoryIterator) Sub() uint32 {
	_, sub, _ := decodeHistoryKey(h.records.Key())
	return sub
}

// SupersededAt returns what State.Superseded was at a revision that is written, and which st has not compacted.
func SupersededAt(r pebble.Reader, st State, revision int64) (int64, error) {
	h, err := NewHistoryIterator(r, st.Compact+1, revision)
	if err != nil {
		return 0, err
	}
	defer h.Close()
	switch {
	case !h.Last(): // the revisions in between changed nothing
		return st.Reclaimed, h.Err
	case !h.Change.Measured:
		return 0, ErrCorruptRecord
	}
	return h.Change.Superseded, nil
}
