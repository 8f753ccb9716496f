package layout

import (
	"encoding/binary"
	"errors"
	"math/bits"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// Header is what a version of a key carries beside its value. The zero header is that of a key that
// doesn't exist.
//
// A version's record is create revision, version and lease as varints, then the value. The mod revision is in the storage key.
type Header struct {
	Create  int64 // revision that created the key
	Mod     int64 // revision of this version
	Version int64 // how many times the key was put since it was created; 0: it doesn't exist
	Lease   int64 // 0: none
	Size    int64 // bytes of key and value
}

// Exists tells whether there is such a version.
func (h Header) Exists() bool { return h.Version != 0 }

// ErrCorruptRecord is that of what can not have been written as it is read.
var ErrCorruptRecord = errors.New("kv: a record of the database can't be decoded: the disk or the file is damaged; restore this member from the others")

// EncodedLen is how many bytes Encode writes.
func (h Header) EncodedLen() int {
	return uvarintLen(uint64(h.Create)) + uvarintLen(uint64(h.Version)) + uvarintLen(uint64(h.Lease))
}

// Encode writes h to the start of b, which has to have room for it, and returns how many bytes it took.
func (h Header) Encode(b []byte) int {
	n := binary.PutUvarint(b, uint64(h.Create))
	n += binary.PutUvarint(b[n:], uint64(h.Version))
	return n + binary.PutUvarint(b[n:], uint64(h.Lease))
}

// DecodeRecord splits a record into header and value, which aliases b.
func DecodeRecord(key []byte, mod int64, b []byte) (Header, []byte, error) {
	h := Header{Mod: mod}
	for _, field := range []*int64{&h.Create, &h.Version, &h.Lease} {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return Header{}, nil, ErrCorruptRecord
		}
		*field, b = int64(v), b[n:]
	}
	h.Size = int64(len(key) + len(b))
	return h, b, nil
}

func uvarintLen(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

// KeyValue makes etcd's message of a version. It keeps key and value.
func (h Header) KeyValue(key, value []byte) *mvccpb.KeyValue {
	return &mvccpb.KeyValue{
		Key: key, Value: value,
		CreateRevision: h.Create, ModRevision: h.Mod, Version: h.Version, Lease: h.Lease,
	}
}
