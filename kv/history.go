package kv

import (
	"encoding/binary"

	"go.etcd.io/etcd/api/v3/mvccpb"
)

// event is one change of one key, as the watch hub passes it on. It is shared by all watchers and never
// changed once made.
type event struct {
	message mvccpb.Event
	kv      mvccpb.KeyValue
	// prev is the revision of the version that this change replaced; 0 if there was none.
	prev int64
}

func newEvent(deleted bool, prev int64) *event {
	e := &event{prev: prev}
	e.message.Kv = &e.kv
	if deleted {
		e.message.Type = mvccpb.Event_DELETE
	}
	return e
}

func (e *event) deleted() bool { return e.message.Type == mvccpb.Event_DELETE }

// bytes is what the event counts for in bounds on memory.
func (e *event) bytes() int { return len(e.kv.Key) + len(e.kv.Value) + eventOverhead }

const eventOverhead = 256

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
