package kv

import "encoding/binary"

// change is an entry of the history section: which key was changed, how, and what version it replaced.
type change struct {
	key     []byte
	deleted bool
	prev    int64
}

func (c change) encodedLen() int { return 1 + uvarintLen(uint64(c.prev)) + len(c.key) }

func (c change) encode(b []byte) {
	b[0] = 0
	if c.deleted {
		b[0] = 1
	}
	n := 1 + binary.PutUvarint(b[1:], uint64(c.prev))
	copy(b[n:], c.key)
}

// decodeChange aliases b.
func decodeChange(b []byte) (change, error) {
	if len(b) < 2 {
		return change{}, errCorruptRecord
	}
	prev, n := binary.Uvarint(b[1:])
	if n <= 0 {
		return change{}, errCorruptRecord
	}
	return change{key: b[1+n:], deleted: b[0] == 1, prev: int64(prev)}, nil
}
