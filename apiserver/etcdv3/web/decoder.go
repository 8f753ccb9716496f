package web

import (
	"fmt"
	"io"

	"github.com/grpc-ecosystem/grpc-gateway/v2/runtime"
)

// boundedMarshaler bounds the messages that it decodes: a stream of requests may be endless, one of them may not.
type boundedMarshaler struct {
	runtime.Marshaler
	limit int64
}

// NewDecoder implements runtime.Marshaler.
func (m boundedMarshaler) NewDecoder(r io.Reader) runtime.Decoder {
	bounded := &boundedReader{Reader: r, limit: m.limit}
	decoder := m.Marshaler.NewDecoder(bounded)
	return runtime.DecoderFunc(func(v any) error {
		bounded.read = 0
		return decoder.Decode(v)
	})
}

// Delimiter implements runtime.Delimited: what stands between the messages of a stream.
func (boundedMarshaler) Delimiter() []byte { return []byte("\n") }

// boundedReader fails once more than limit bytes were read since read was last set to 0.
type boundedReader struct {
	io.Reader
	limit, read int64
}

// Read implements io.Reader.
func (b *boundedReader) Read(p []byte) (int, error) {
	if b.read >= b.limit {
		return 0, fmt.Errorf("a message of a request may have %d bytes at most", b.limit)
	}
	if room := b.limit - b.read; int64(len(p)) > room {
		p = p[:room]
	}
	n, err := b.Reader.Read(p)
	b.read += int64(n)
	return n, err
}
