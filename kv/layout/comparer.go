package layout

import (
	"bytes"

	"github.com/cockroachdb/pebble/v2"
)

// The last byte of a storage key tells what its suffix is. A tombstone sorts before a value of the same
// revision, because a transaction may put a key and then delete it: the newest comes first. Where it
// deletes and then puts, there is no tombstone.
const (
	MarkNone      = 0x00 // no suffix: the terminator of the prefix
	MarkTombstone = 0x08 // 8 bytes of inverted revision; the key was deleted
	MarkValue     = 0x09 // 8 bytes of inverted revision; the key was put
	markHistory   = 0x0c // 8 bytes of revision and 4 of sub-revision

	VersionSuffixLen = 8 + 1
	historySuffixLen = 12 + 1
)

// Comparer orders storage keys: by the bytes of their prefixes, and those with the same prefix by the
// bytes of their suffixes. Its name is written into the database; a change of order needs a new name.
//
// Invariants:
//  1. A prefix ends in a zero byte, which no suffix does. So the last byte of a storage key tells whether
//     there is a suffix and how long it is, whatever bytes the user's key has.
//  2. The terminating zero keeps the order of user keys: of two keys, the one that the other continues is
//     the smaller one, and zero is the smallest byte.
//  3. A prefix sorts before all keys that have it.
var Comparer = &pebble.Comparer{
	Name:                 "ctlplane.kv.1",
	Split:                splitKey,
	Compare:              CompareKeys,
	Equal:                bytes.Equal,
	ComparePointSuffixes: bytes.Compare,
	CompareRangeSuffixes: bytes.Compare,
	AbbreviatedKey:       abbreviateKey,
	Separator:            separateKeys,
	Successor:            succeedKey,
	ImmediateSuccessor:   func(dst, a []byte) []byte { return append(append(dst, a...), MarkNone) },
	FormatKey:            pebble.DefaultComparer.FormatKey,
}

func splitKey(k []byte) int {
	n := len(k)
	if n == 0 {
		return 0
	}
	switch k[n-1] {
	case MarkValue, MarkTombstone:
		if n >= VersionSuffixLen {
			return n - VersionSuffixLen
		}
	case markHistory:
		if n >= historySuffixLen {
			return n - historySuffixLen
		}
	}
	return n
}

// CompareKeys is the order of the Comparer.
func CompareKeys(a, b []byte) int {
	an, bn := splitKey(a), splitKey(b)
	if c := bytes.Compare(a[:an], b[:bn]); c != 0 {
		return c
	}
	return bytes.Compare(a[an:], b[bn:])
}

// unterminated returns the prefix of k without its terminator, and whether it has one.
func unterminated(k []byte) ([]byte, bool) {
	n := splitKey(k)
	if n == 0 || k[n-1] != MarkNone {
		return nil, false
	}
	return k[:n-1], true
}

func abbreviateKey(k []byte) uint64 {
	p, ok := unterminated(k)
	if !ok {
		p = k[:splitKey(k)]
	}
	return pebble.DefaultComparer.AbbreviatedKey(p)
}

func separateKeys(dst, a, b []byte) []byte {
	pa, oka := unterminated(a)
	pb, okb := unterminated(b)
	if !oka || !okb || len(pa) == 0 || len(pb) == 0 || bytes.Equal(pa, pb) {
		return append(dst, a...)
	}
	start := len(dst)
	dst = pebble.DefaultComparer.Separator(dst, pa, pb)
	if bytes.Equal(dst[start:], pa) {
		return append(dst[:start], a...)
	}
	return append(dst, MarkNone)
}

func succeedKey(dst, a []byte) []byte {
	p, ok := unterminated(a)
	if !ok {
		return append(dst, a...)
	}
	start := len(dst)
	dst = pebble.DefaultComparer.Successor(dst, p)
	if bytes.Equal(dst[start:], p) {
		return append(dst[:start], a...)
	}
	return append(dst, MarkNone)
}
