package etcdfile

import (
	"encoding/binary"
	"math"
)

// A revision is the main revision and the sub-revision, eight bytes each, with an underscore between them; a
// tombstone's has a mark behind it.
const (
	revisionLen   = 8 + 1 + 8
	separator     = '_'
	tombstoneMark = 't'
)

func appendRevision(b []byte, main, sub int64, deleted bool) []byte {
	b = binary.BigEndian.AppendUint64(b, uint64(main))
	b = append(b, separator)
	b = binary.BigEndian.AppendUint64(b, uint64(sub))
	if deleted {
		b = append(b, tombstoneMark)
	}
	return b
}

func parseRevision(b []byte) (main, sub int64, deleted, ok bool) {
	switch {
	case len(b) == revisionLen+1 && b[revisionLen] == tombstoneMark:
		deleted = true
	case len(b) != revisionLen:
		return 0, 0, false, false
	}
	main, sub = int64(binary.BigEndian.Uint64(b)), int64(binary.BigEndian.Uint64(b[9:]))
	return main, sub, deleted, b[8] == separator && main > 0 && main < math.MaxInt64 && sub >= 0
}
