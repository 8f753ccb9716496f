package kv

import "encoding/binary"

// formatVersion is the version of the layout. It is the first byte of the state record. A directory of format 2, which has
// no records of the history that hold several changes, is read as it is, and becomes one of the present format with its first
// write. One of format 1, which has no measures of the history, is given them when it is opened (see measure).
const (
	formatVersion   = 3
	formatNoGroups  = 2
	formatNoMeasure = 1
)

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
	// superseded adds up, over all changes so far, the versions that they replaced or deleted; reclaimed is what it was at the
	// compaction revision. So the difference is the history that can still be read. Both count from anywhere.
	superseded, reclaimed int64
	rules                 Rules // the highest of the entries applied
}

// unmeasured in the place of state.superseded: the history has no measures yet.
const unmeasured = -1

const (
	stateLen          = 1 + 9*8
	stateLenNoMeasure = 1 + 6*8
)

func (s state) encode() []byte {
	b := append(make([]byte, 0, stateLen), formatVersion)
	for _, v := range [...]uint64{s.applied, s.term, uint64(s.revision), uint64(s.compact), uint64(s.keys), uint64(s.bytes), uint64(s.superseded), uint64(s.reclaimed), uint64(s.rules)} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return b
}

func decodeState(b []byte) (state, error) {
	if len(b) == 0 {
		return state{}, errCorruptRecord
	}
	want := stateLen
	switch b[0] {
	case formatVersion, formatNoGroups:
	case formatNoMeasure:
		want = stateLenNoMeasure
	default:
		return state{}, ErrFormat
	}
	if len(b) != want {
		return state{}, errCorruptRecord
	}
	v := [9]uint64{6: ^uint64(0)} // unmeasured
	for i := range (want - 1) / 8 {
		v[i] = binary.BigEndian.Uint64(b[1+8*i:])
	}
	return state{
		applied: v[0], term: v[1], revision: int64(v[2]), compact: int64(v[3]),
		keys: int64(v[4]), bytes: int64(v[5]), superseded: int64(v[6]), reclaimed: int64(v[7]), rules: Rules(v[8]),
	}, nil
}
