package kv

import (
	"bytes"
	"slices"
)

// rangeSet is a set of keys as ranges in their order, of which none touches the next: so a range of keys is in the
// set if it is in one range of it. None is a point.
type rangeSet []keyRange

func newRangeSet(ranges []keyRange) rangeSet {
	var all rangeSet
	for _, r := range ranges {
		if !r.empty() {
			all = append(all, r.widened())
		}
	}
	slices.SortFunc(all, compareRanges)
	merged := all[:0]
	for _, r := range all {
		last := len(merged) - 1
		if last < 0 || merged[last].hi != nil && bytes.Compare(merged[last].hi, r.lo) < 0 {
			merged = append(merged, r)
		} else if compareEnds(r.hi, merged[last].hi) > 0 {
			merged[last].hi = r.hi
		}
	}
	return merged
}

// widened is the range with a point as the range from it to the key after it.
func (r keyRange) widened() keyRange {
	if !r.point {
		return r
	}
	return keyRange{lo: r.lo, hi: append(bytes.Clone(r.lo), 0)}
}

// covers tells whether all keys of r are in the set. Of a range without keys its first has to be.
func (s rangeSet) covers(r keyRange) bool {
	have, ok := s.holding(r.lo)
	return ok && (r.point || compareEnds(r.hi, have.hi) <= 0)
}

// holding returns the range of the set that key is in.
func (s rangeSet) holding(key []byte) (keyRange, bool) {
	// The last one that starts at or before key.
	i, found := slices.BinarySearchFunc(s, key, func(have keyRange, key []byte) int { return bytes.Compare(have.lo, key) })
	if !found {
		i--
	}
	if i < 0 || s[i].hi != nil && bytes.Compare(key, s[i].hi) >= 0 {
		return keyRange{}, false
	}
	return s[i], true
}
