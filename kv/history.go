package kv

import "encoding/binary"

// change is an entry of the history section: which key was changed, how, and what version it replaced.
type change struct {
	key     []byte
	deleted bool
	prev    int64
	// superseded is state.superseded as it was after the change, if measured says so: at least the last change of each revision
	// does.
	superseded int64
	measured   bool
}

// A change's record is a byte of flags, the fields as varints, and the key. Format 1 knows no other flag than flagDeleted.
const (
	flagDeleted  = 1 << iota
	flagMeasured // superseded follows prev
)

func (c change) encodedLen() int {
	n := 1 + uvarintLen(uint64(c.prev)) + len(c.key)
	if c.measured {
		n += uvarintLen(uint64(c.superseded))
	}
	return n
}

func (c change) encode(b []byte) {
	b[0] = 0
	if c.deleted {
		b[0] |= flagDeleted
	}
	n := 1 + binary.PutUvarint(b[1:], uint64(c.prev))
	if c.measured {
		b[0] |= flagMeasured
		n += binary.PutUvarint(b[n:], uint64(c.superseded))
	}
	copy(b[n:], c.key)
}

// decodeChange aliases b.
func decodeChange(b []byte) (change, error) {
	if len(b) < 2 || b[0]&^(flagDeleted|flagMeasured) != 0 {
		return change{}, errCorruptRecord
	}
	prev, n := binary.Uvarint(b[1:])
	if n <= 0 {
		return change{}, errCorruptRecord
	}
	c := change{deleted: b[0]&flagDeleted != 0, prev: int64(prev), measured: b[0]&flagMeasured != 0}
	rest := b[1+n:]
	if c.measured {
		superseded, n := binary.Uvarint(rest)
		if n <= 0 {
			return change{}, errCorruptRecord
		}
		c.superseded, rest = int64(superseded), rest[n:]
	}
	c.key = rest
	return c, nil
}
