package kv

import (
	"bytes"
	"encoding/binary"
)

// Sections of the database: the first byte of every storage key.
const (
	sectionAttachment = 'a'
	sectionVersion    = 'k'
	sectionLease      = 'l'
	sectionMeta       = 'm'
	sectionHistory    = 'r'
)

// sectionBounds returns bounds that hold exactly one section.
func sectionBounds(section byte) (lower, upper []byte) {
	return []byte{section, markNone}, []byte{section + 1, markNone}
}

// appendKeyPrefix appends what all versions of key have in common.
func appendKeyPrefix(dst, key []byte) []byte {
	dst = append(dst, sectionVersion)
	dst = append(dst, key...)
	return append(dst, markNone)
}

// appendVersionKey appends the storage key of a version of key. With markTombstone it is also where to
// seek for the newest version that is not newer than rev.
func appendVersionKey(dst, key []byte, rev int64, mark byte) []byte {
	dst = appendKeyPrefix(dst, key)
	return appendVersionSuffix(dst, rev, mark)
}

func appendVersionSuffix(dst []byte, rev int64, mark byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, ^uint64(rev))
	return append(dst, mark)
}

func versionKeyLen(key []byte) int { return 1 + len(key) + 1 + versionSuffixLen }

// decodeVersionKey takes a storage key of the version section apart. The key returned aliases k.
func decodeVersionKey(k []byte) (key []byte, rev int64, tombstone, ok bool) {
	n := splitKey(k)
	if n < 2 || len(k)-n != versionSuffixLen || k[0] != sectionVersion || k[n-1] != markNone {
		return nil, 0, false, false
	}
	rev = int64(^binary.BigEndian.Uint64(k[n:]))
	return k[1 : n-1], rev, k[len(k)-1] == markTombstone, true
}

// appendHistoryKey appends the storage key of the sub-th change of revision rev.
func appendHistoryKey(dst []byte, rev int64, sub uint32) []byte {
	dst = append(dst, sectionHistory, markNone)
	dst = binary.BigEndian.AppendUint64(dst, uint64(rev))
	dst = binary.BigEndian.AppendUint32(dst, sub)
	return append(dst, markHistory)
}

const historyKeyLen = 2 + historySuffixLen

func decodeHistoryKey(k []byte) (rev int64, sub uint32, ok bool) {
	if len(k) != historyKeyLen || k[0] != sectionHistory || k[len(k)-1] != markHistory {
		return 0, 0, false
	}
	return int64(binary.BigEndian.Uint64(k[2:])), binary.BigEndian.Uint32(k[10:]), true
}

// leaseKey returns the storage key of a granted lease.
func leaseKey(id int64) []byte {
	k := append(make([]byte, 0, 10), sectionLease)
	k = binary.BigEndian.AppendUint64(k, uint64(id))
	return append(k, markNone)
}

// appendAttachmentKey appends the storage key that says that key hangs on lease id.
func appendAttachmentKey(dst []byte, id int64, key []byte) []byte {
	dst = append(dst, sectionAttachment)
	dst = binary.BigEndian.AppendUint64(dst, uint64(id))
	dst = append(dst, key...)
	return append(dst, markNone)
}

// attachmentBounds returns the bounds of all attachments of a lease.
func attachmentBounds(id int64) (lower, upper []byte) {
	lower = appendAttachmentKey(nil, id, nil)
	if uint64(id) == ^uint64(0) {
		return lower, []byte{sectionAttachment + 1, markNone}
	}
	next := append([]byte(nil), sectionAttachment)
	next = binary.BigEndian.AppendUint64(next, uint64(id)+1)
	return lower, append(next, markNone)
}

func decodeAttachmentKey(k []byte) []byte { return k[9 : len(k)-1] }

func metaKey(name string) []byte {
	k := append(make([]byte, 0, len(name)+2), sectionMeta)
	k = append(k, name...)
	return append(k, markNone)
}

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
	lower = appendKeyPrefix(make([]byte, 0, len(r.lo)+2+versionSuffixLen), r.lo)
	switch {
	case r.point:
		upper = append(append(make([]byte, 0, len(lower)+1), lower...), markNone)
	case r.hi == nil:
		upper = []byte{sectionVersion + 1, markNone}
	default:
		upper = appendKeyPrefix(make([]byte, 0, len(r.hi)+2), r.hi)
	}
	return lower, upper
}
