package bench

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// stamp is what every watched value starts with: when its put was due, and the slot of fanout that the put is counted in.
type stamp struct {
	due  time.Duration // since the load's base
	slot uint32
}

// stampBytes is the size of a stamp in a value.
const stampBytes = 12

func (s stamp) write(value []byte) {
	binary.BigEndian.PutUint64(value, uint64(s.due))
	binary.BigEndian.PutUint32(value[8:], s.slot)
}

func readStamp(value []byte) (stamp, bool) {
	if len(value) < stampBytes {
		return stamp{}, false
	}
	return stamp{time.Duration(binary.BigEndian.Uint64(value)), binary.BigEndian.Uint32(value[8:])}, true
}

// watchFrame is as much of a WatchResponse as a benchmark looks at. Taking only that out of a message costs a fraction of
// decoding it, so that what is measured is the server and not the generator beside it.
type watchFrame struct {
	created, canceled bool
	reason            string
	stamps            []stamp // one an event; overwritten by the next frame
}

// The numbers of the fields of WatchResponse, Event and KeyValue that are read.
const (
	fieldCreated, fieldCanceled, fieldReason, fieldEvents = 3, 4, 6, 11
	fieldEventKV, fieldValue                              = 2, 5
)

var errFrame = errors.New("a watch response is malformed")

// parse reads a WatchResponse. What it does not know it skips.
func (f *watchFrame) parse(data []byte) error {
	*f = watchFrame{stamps: f.stamps[:0]}
	return eachField(data, func(n protowire.Number, number uint64, content []byte) error {
		switch n {
		case fieldCreated:
			f.created = number != 0
		case fieldCanceled:
			f.canceled = number != 0
		case fieldReason:
			f.reason = string(content)
		case fieldEvents:
			return eachField(content, f.event)
		}
		return nil
	})
}

func (f *watchFrame) event(n protowire.Number, _ uint64, kv []byte) error {
	if n != fieldEventKV {
		return nil
	}
	return eachField(kv, func(n protowire.Number, _ uint64, value []byte) error {
		if s, ok := readStamp(value); n == fieldValue && ok {
			f.stamps = append(f.stamps, s)
		}
		return nil
	})
}

// eachField calls do with every field of a message: its number, and its value as a varint or as bytes.
func eachField(data []byte, do func(n protowire.Number, number uint64, content []byte) error) error {
	for len(data) > 0 {
		n, kind, size := protowire.ConsumeTag(data)
		if size < 0 {
			return errFrame
		}
		data = data[size:]
		var number uint64
		var content []byte
		switch kind {
		case protowire.VarintType:
			number, size = protowire.ConsumeVarint(data)
		case protowire.BytesType:
			content, size = protowire.ConsumeBytes(data)
		default:
			size = protowire.ConsumeFieldValue(n, kind, data)
		}
		if size < 0 {
			return errFrame
		}
		data = data[size:]
		if err := do(n, number, content); err != nil {
			return err
		}
	}
	return nil
}

// frameCodec is gRPC's codec of a watch stream of the benchmark: requests as ever, responses as frames.
type frameCodec struct{}

func (frameCodec) Name() string { return "proto" }

func (frameCodec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("%T is no message", v)
	}
	data, err := proto.Marshal(m)
	return mem.BufferSlice{mem.SliceBuffer(data)}, err
}

func (frameCodec) Unmarshal(data mem.BufferSlice, v any) error {
	f, ok := v.(*watchFrame)
	if !ok {
		return fmt.Errorf("%T is no watch frame", v)
	}
	buffer := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buffer.Free()
	return f.parse(buffer.ReadOnlyData())
}
