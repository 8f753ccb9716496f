package layout

import (
	"encoding/binary"
	"errors"

	"github.com/cockroachdb/pebble/v2"
)

// FormatVersion is the version of the layout. It is the first byte of the state record. A directory of format 2, which has
// no records of the history that hold several changes, is read as it is, and becomes one of the present format with its first
// write. One of format 1, which has no measures of the history, is given them when it is opened (see package kv).
const (
	FormatVersion   = 3
	formatNoGroups  = 2
	formatNoMeasure = 1
)

// ErrFormat is that of a directory whose layout this release does not know.
var ErrFormat = errors.New("kv: the directory has another format")

// StateKey is where the state record is, CompactedKey the revision up to which the removals of compactions are done.
var (
	StateKey     = MetaKey("state")
	CompactedKey = MetaKey("compacted")
)

// VersionOverhead is what a version counts for in kv.Store.StoredBytes beside its key and value: its key once more in the history, for
// keys of the usual length, and what surrounds both.
const VersionOverhead = 64

// State is the one record that every Apply rewrites, in the batch of the data that it describes.
type State struct {
	Applied  uint64 // Raft index and term of the last applied entry
	Term     uint64
	Revision int64
	// Compact is the logical compaction revision: reads below it are refused. The removal of what it made
	// superfluous follows in the background.
	Compact int64
	Keys    int64 // living keys
	Bytes   int64 // their keys and values
	// Superseded adds up, over all changes so far, the versions that they replaced or deleted; Reclaimed is what it was at the
	// compaction revision. So the difference is the history that can still be read. Both count from anywhere.
	Superseded, Reclaimed int64
	Rules                 uint32 // the highest version of the rules by which entries were checked
}

// Unmeasured in the place of State.Superseded: the history has no measures yet.
const Unmeasured = -1

const (
	stateLen          = 1 + 9*8
	stateLenNoMeasure = 1 + 6*8
)

// Encode returns the state record.
func (s State) Encode() []byte {
	b := append(make([]byte, 0, stateLen), FormatVersion)
	for _, v := range [...]uint64{s.Applied, s.Term, uint64(s.Revision), uint64(s.Compact), uint64(s.Keys), uint64(s.Bytes), uint64(s.Superseded), uint64(s.Reclaimed), uint64(s.Rules)} {
		b = binary.BigEndian.AppendUint64(b, v)
	}
	return b
}

// DecodeState decodes a state record. The error is ErrCorruptRecord or ErrFormat.
func DecodeState(b []byte) (State, error) {
	if len(b) == 0 {
		return State{}, ErrCorruptRecord
	}
	want := stateLen
	switch b[0] {
	case FormatVersion, formatNoGroups:
	case formatNoMeasure:
		want = stateLenNoMeasure
	default:
		return State{}, ErrFormat
	}
	if len(b) != want {
		return State{}, ErrCorruptRecord
	}
	v := [9]uint64{6: ^uint64(0)} // unmeasured
	for i := range (want - 1) / 8 {
		v[i] = binary.BigEndian.Uint64(b[1+8*i:])
	}
	return State{
		Applied: v[0], Term: v[1], Revision: int64(v[2]), Compact: int64(v[3]),
		Keys: int64(v[4]), Bytes: int64(v[5]), Superseded: int64(v[6]), Reclaimed: int64(v[7]), Rules: uint32(v[8]),
	}, nil
}

// Stored is what a quota counts: see kv.Store.StoredBytes.
func (s State) Stored() int64 {
	return s.Bytes + s.Keys*VersionOverhead + s.Superseded - s.Reclaimed
}

// ReadState returns the state record; that of an empty store, which is at revision 1 as etcd's, where there is none.
func ReadState(r pebble.Reader) (State, error) {
	b, closer, err := r.Get(StateKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return State{Revision: 1}, nil
	}
	if err != nil {
		return State{}, err
	}
	defer closer.Close()
	return DecodeState(b)
}

// ReadCompacted returns the revision up to which the removals of compactions are done.
func ReadCompacted(r pebble.Reader) (int64, error) {
	v, closer, err := r.Get(CompactedKey)
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer closer.Close()
	if len(v) != 8 {
		return 0, ErrCorruptRecord
	}
	return int64(binary.BigEndian.Uint64(v)), nil
}
