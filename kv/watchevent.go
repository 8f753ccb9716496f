package kv

import (
	"bytes"
	"errors"
	"sync"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/ctlplane/ctlplane/kv/layout"
)

// event is one change of one key, as the watch hub passes it on. All watchers share it.
//
// Invariant: nothing that was read from it changes any more. What is added is its encoding, and what it replaced,
// each once, by the first who needs it.
type event struct {
	message mvccpb.Event
	kv      mvccpb.KeyValue
	// prev is the revision of the version that this change replaced; 0 if there was none.
	prev int64
	// alone: it was read from the disk for one watcher, and is in no one's memory but that one's.
	alone bool

	encoding sync.Once
	encoded  []byte
	previous atomic.Pointer[eventWithPrevious]
}

// eventWithPrevious is an event as those see it who want what it replaced.
type eventWithPrevious struct {
	message *mvccpb.Event
	encoded []byte
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

// bytes is what the event, with its encoding, counts for in bounds on memory.
func (e *event) bytes() int { return 2*(len(e.kv.Key)+len(e.kv.Value)) + eventOverhead }

const eventOverhead = 384

// encode returns the event as it stands in an etcd WatchResponse.
func (e *event) encode() []byte {
	e.encoding.Do(func() { e.encoded = encodeEvent(&e.message) })
	return e.encoded
}

// withPrevious returns e with what it replaced, as far as that is still there.
func (s *Store) withPrevious(e *event) (*eventWithPrevious, error) {
	if known := e.previous.Load(); known != nil {
		return known, nil
	}
	with := &eventWithPrevious{message: &e.message}
	if e.prev != 0 {
		before, err := s.version(e.kv.Key, e.prev)
		if err != nil {
			return nil, err
		}
		if before != nil {
			with.message = &mvccpb.Event{Type: e.message.Type, Kv: &e.kv, PrevKv: before}
		}
	}
	if with.message.PrevKv == nil {
		with.encoded = e.encode()
	} else {
		with.encoded = encodeEvent(with.message)
	}
	if e.previous.CompareAndSwap(nil, with) {
		if before := with.message.PrevKv; before != nil && !e.alone {
			s.hub.tail.grow(e.kv.ModRevision, len(before.Value)+len(with.encoded))
		}
	}
	return with, nil
}

// version reads the version of key that revision made; nil if it is compacted.
func (s *Store) version(key []byte, revision int64) (*mvccpb.KeyValue, error) {
	release, err := s.use()
	if err != nil {
		return nil, err
	}
	defer release()
	k := layout.AppendVersionKey(make([]byte, 0, layout.VersionKeyLen(key)), key, revision, layout.MarkValue)
	b, closer, err := s.db.Get(k)
	if errors.Is(err, pebble.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer closer.Close()
	h, value, err := layout.DecodeRecord(key, revision, b)
	if err != nil {
		return nil, err
	}
	return h.KeyValue(key, bytes.Clone(value)), nil
}

// Field numbers of etcd's messages.
const (
	fieldResponseEvents = 11

	fieldEventType   = 1
	fieldEventKV     = 2
	fieldEventPrevKV = 3

	fieldKVKey     = 1
	fieldKVCreate  = 2
	fieldKVMod     = 3
	fieldKVVersion = 4
	fieldKVValue   = 5
	fieldKVLease   = 6
)

// encodeEvent returns the field of a WatchResponse that holds e: tag, length and message. It is what protobuf's
// own encoder makes of it, without reflection.
func encodeEvent(e *mvccpb.Event) []byte {
	size := 0
	if e.Type != 0 {
		size += 1 + protowire.SizeVarint(uint64(e.Type))
	}
	kv := sizeKeyValue(e.Kv)
	size += 1 + protowire.SizeBytes(kv)
	prev := 0
	if e.PrevKv != nil {
		prev = sizeKeyValue(e.PrevKv)
		size += 1 + protowire.SizeBytes(prev)
	}
	b := make([]byte, 0, 1+protowire.SizeBytes(size))
	b = protowire.AppendTag(b, fieldResponseEvents, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	b = appendInt(b, fieldEventType, int64(e.Type))
	b = appendKeyValue(b, fieldEventKV, kv, e.Kv)
	if e.PrevKv != nil {
		b = appendKeyValue(b, fieldEventPrevKV, prev, e.PrevKv)
	}
	return b
}

func appendKeyValue(b []byte, field protowire.Number, size int, kv *mvccpb.KeyValue) []byte {
	b = protowire.AppendTag(b, field, protowire.BytesType)
	b = protowire.AppendVarint(b, uint64(size))
	if len(kv.Key) > 0 {
		b = protowire.AppendTag(b, fieldKVKey, protowire.BytesType)
		b = protowire.AppendBytes(b, kv.Key)
	}
	b = appendInt(b, fieldKVCreate, kv.CreateRevision)
	b = appendInt(b, fieldKVMod, kv.ModRevision)
	b = appendInt(b, fieldKVVersion, kv.Version)
	if len(kv.Value) > 0 {
		b = protowire.AppendTag(b, fieldKVValue, protowire.BytesType)
		b = protowire.AppendBytes(b, kv.Value)
	}
	return appendInt(b, fieldKVLease, kv.Lease)
}

func sizeKeyValue(kv *mvccpb.KeyValue) int {
	size := sizeInt(kv.CreateRevision) + sizeInt(kv.ModRevision) + sizeInt(kv.Version) + sizeInt(kv.Lease)
	for _, b := range [...][]byte{kv.Key, kv.Value} {
		if len(b) > 0 {
			size += 1 + protowire.SizeBytes(len(b))
		}
	}
	return size
}

// appendInt appends an integer field, of which the tag takes one byte, unless it is zero.
func appendInt(b []byte, field protowire.Number, v int64) []byte {
	if v == 0 {
		return b
	}
	b = protowire.AppendTag(b, field, protowire.VarintType)
	return protowire.AppendVarint(b, uint64(v))
}

func sizeInt(v int64) int {
	if v == 0 {
		return 0
	}
	return 1 + protowire.SizeVarint(uint64(v))
}
