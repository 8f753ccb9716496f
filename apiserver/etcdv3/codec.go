package etcdv3

import (
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
)

// encoder is a message that encodes itself, without reflection.
type encoder interface {
	// Encode returns the message's protobuf encoding. The caller frees it once, and it is not changed before.
	Encode() mem.BufferSlice
}

// codec is gRPC's protobuf codec, but for the messages that know better. Both speak the same wire: a client can't tell.
type codec struct{ encoding.CodecV2 }

func newCodec() encoding.CodecV2 { return codec{encoding.GetCodecV2(proto.Name)} }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(message any) (mem.BufferSlice, error) {
	if m, ok := message.(encoder); ok {
		return m.Encode(), nil
	}
	return c.CodecV2.Marshal(message)
}
