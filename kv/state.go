package kv

import "encoding/binary"

// formatVersion is the version of the layout. It is the first byte of the state record.
const formatVersion = 1

var (
	stateKey     = metaKey("state")
	compactedKey = metaKey("compacted")
)

// state is the one record that every Apply rewrites, in the batch of the data that it describes.
type state struct {
	applied  uint64 // Raft index and term of the last applied entry
	term     uint64
	revision int64
	// compact is the logical compaction revision: reads below it are refused. The removal of what it made
	// superfluous follows in the background, see compactor.
	compact int64
	keys    int64 // living keys
	bytes   int64 // their keys and values
}

const stateLen = 1 + 6*8

func (s state) encode() []byte {
	b := append(make([]byte, 0, stateLen), formatVersion)
	for _, v := range [...]uint64{s.applied, s.term, uint64(s.revision), uint64(s.compact), uint64(s.keys), uint64(s.bytes)} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return b
}

func decodeState(b []byte) (state, error) {
	if len(b) > 0 && b[0] != formatVersion {
		return state{}, ErrFormat
	}
	if len(b) != stateLen {
		return state{}, errCorruptRecord
	}
	var v [6]uint64
	for i := range v {
		v[i] = binary.BigEndian.Uint64(b[1+8*i:])
	}
	return state{
		applied: v[0], term: v[1], revision: int64(v[2]), compact: int64(v[3]),
		keys: int64(v[4]), bytes: int64(v[5]),
	}, nil
}
