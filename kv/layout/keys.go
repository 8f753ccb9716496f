package layout

import "encoding/binary"

// Sections of the database: the first byte of every storage key.
const (
	SectionAttachment = 'a'
	SectionVersion    = 'k'
	SectionLease      = 'l'
	SectionMeta       = 'm'
	SectionHistory    = 'r'
)

// SectionBounds returns bounds that hold exactly one section.
func SectionBounds(section byte) (lower, upper []byte) {
	return []byte{section, MarkNone}, []byte{section + 1, MarkNone}
}

// AppendKeyPrefix appends what all versions of key have in common.
func AppendKeyPrefix(dst, key []byte) []byte {
	dst = append(dst, SectionVersion)
	dst = append(dst, key...)
	return append(dst, MarkNone)
}

// AppendVersionKey appends the storage key of a version of key. With markTombstone it is also where to
// seek for the newest version that is not newer than rev.
func AppendVersionKey(dst, key []byte, rev int64, mark byte) []byte {
	dst = AppendKeyPrefix(dst, key)
	return appendVersionSuffix(dst, rev, mark)
}

func appendVersionSuffix(dst []byte, rev int64, mark byte) []byte {
	dst = binary.BigEndian.AppendUint64(dst, ^uint64(rev))
	return append(dst, mark)
}

// VersionKeyLen is how long the storage key of a version of key is.
func VersionKeyLen(key []byte) int { return 1 + len(key) + 1 + VersionSuffixLen }

// DecodeVersionKey takes a storage key of the version section apart. The key returned aliases k.
func DecodeVersionKey(k []byte) (key []byte, rev int64, tombstone, ok bool) {
	n := splitKey(k)
	if n < 2 || len(k)-n != VersionSuffixLen || k[0] != SectionVersion || k[n-1] != MarkNone {
		return nil, 0, false, false
	}
	rev = int64(^binary.BigEndian.Uint64(k[n:]))
	return k[1 : n-1], rev, k[len(k)-1] == MarkTombstone, true
}

// AppendHistoryKey appends the storage key of the sub-th change of revision rev.
func AppendHistoryKey(dst []byte, rev int64, sub uint32) []byte {
	dst = append(dst, SectionHistory, MarkNone)
	dst = binary.BigEndian.AppendUint64(dst, uint64(rev))
	dst = binary.BigEndian.AppendUint32(dst, sub)
	return append(dst, markHistory)
}

const historyKeyLen = 2 + historySuffixLen

func decodeHistoryKey(k []byte) (rev int64, sub uint32, ok bool) {
	if len(k) != historyKeyLen || k[0] != SectionHistory || k[len(k)-1] != markHistory {
		return 0, 0, false
	}
	return int64(binary.BigEndian.Uint64(k[2:])), binary.BigEndian.Uint32(k[10:]), true
}

// LeaseKey returns the storage key of a granted lease.
func LeaseKey(id int64) []byte {
	k := append(make([]byte, 0, 10), SectionLease)
	k = binary.BigEndian.AppendUint64(k, uint64(id))
	return append(k, MarkNone)
}

// AppendAttachmentKey appends the storage key that says that key hangs on lease id.
func AppendAttachmentKey(dst []byte, id int64, key []byte) []byte {
	dst = append(dst, SectionAttachment)
	dst = binary.BigEndian.AppendUint64(dst, uint64(id))
	dst = append(dst, key...)
	return append(dst, MarkNone)
}

// AttachmentBounds returns the bounds of all attachments of a lease.
func AttachmentBounds(id int64) (lower, upper []byte) {
	lower = AppendAttachmentKey(nil, id, nil)
	if uint64(id) == ^uint64(0) {
		return lower, []byte{SectionAttachment + 1, MarkNone}
	}
	next := append([]byte(nil), SectionAttachment)
	next = binary.BigEndian.AppendUint64(next, uint64(id)+1)
	return lower, append(next, MarkNone)
}

// DecodeAttachmentKey returns the key that hangs on the lease. It aliases k.
func DecodeAttachmentKey(k []byte) []byte { return k[9 : len(k)-1] }

// MetaKey returns the storage key of a record that there is once.
func MetaKey(name string) []byte {
	k := append(make([]byte, 0, len(name)+2), SectionMeta)
	k = append(k, name...)
	return append(k, MarkNone)
}
