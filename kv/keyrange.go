package kv

import (
	"bytes"

	"github.com/ctlplane/ctlplane/kv/layout"
)

// keyRange is what a request's key and range_end mean.
//
// A nil hi with point false is "every key from lo on".
type keyRange struct {
	lo, hi []byte
	point  bool
}

// newKeyRange reads etcd's convention: no end is the key alone, the end "\0" is no upper bound.
func newKeyRange(key, end []byte) keyRange {
	switch {
	case len(end) == 0:
		return keyRange{lo: key, point: true}
	case len(end) == 1 && end[0] == 0:
		return keyRange{lo: key}
	}
	return keyRange{lo: key, hi: end}
}

func (r keyRange) empty() bool {
	return !r.point && r.hi != nil && bytes.Compare(r.lo, r.hi) >= 0
}

func (r keyRange) contains(key []byte) bool {
	if r.point {
		return bytes.Equal(r.lo, key)
	}
	return bytes.Compare(key, r.lo) >= 0 && (r.hi == nil || bytes.Compare(key, r.hi) < 0)
}

// bounds returns the storage bounds that hold every version of every key in the range.
func (r keyRange) bounds() (lower, upper []byte) {
	lower = layout.AppendKeyPrefix(make([]byte, 0, len(r.lo)+2+layout.VersionSuffixLen), r.lo)
	switch {
	case r.point:
		upper = append(append(make([]byte, 0, len(lower)+1), lower...), layout.MarkNone)
	case r.hi == nil:
		upper = []byte{layout.SectionVersion + 1, layout.MarkNone}
	default:
		upper = layout.AppendKeyPrefix(make([]byte, 0, len(r.hi)+2), r.hi)
	}
	return lower, upper
}
