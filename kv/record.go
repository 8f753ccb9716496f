package kv

import (
	"encoding/binary"
	"errors"
	"math/bits"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// header is what a version of a key carries beside its value. The zero header is that of a key that
// doesn't exist.
type header struct {
	create  int64 // revision that created the key
	mod     int64 // revision of this version
	version int64 // how many times the key was put since it was created; 0: it doesn't exist
	lease   int64 // 0: none
	size    int64 // bytes of key and value
}

func (h header) exists() bool { return h.version != 0 }

var errCorruptRecord = errors.New("kv: a record of the database can't be decoded: the disk or the file is damaged; restore this member from the others")

// A version's record is create revision, version and lease as varints, then the value. The mod revision is
// in the key.

func (h header) encodedLen() int {
	return uvarintLen(uint64(h.create)) + uvarintLen(uint64(h.version)) + uvarintLen(uint64(h.lease))
}

// encode writes h to the start of b, which has to have room for it, and returns how many bytes it took.
func (h header) encode(b []byte) int {
	n := binary.PutUvarint(b, uint64(h.create))
	n += binary.PutUvarint(b[n:], uint64(h.version))
	return n + binary.PutUvarint(b[n:], uint64(h.lease))
}

// decodeRecord splits a record into header and value, which aliases b.
func decodeRecord(key []byte, mod int64, b []byte) (header, []byte, error) {
	h := header{mod: mod}
	for _, field := range []*int64{&h.create, &h.version, &h.lease} {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			return header{}, nil, errCorruptRecord
		}
		*field, b = int64(v), b[n:]
	}
	h.size = int64(len(key) + len(b))
	return h, b, nil
}

func uvarintLen(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

// keyValue makes etcd's message of a version. It keeps key and value.
func (h header) keyValue(key, value []byte) *mvccpb.KeyValue {
	return &mvccpb.KeyValue{
		Key: key, Value: value,
		CreateRevision: h.create, ModRevision: h.mod, Version: h.version, Lease: h.lease,
	}
}
