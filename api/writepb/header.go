package writepb

import (
	"strconv"

	"google.golang.org/grpc/metadata"
)

// maxWriteKey is what a server's header says of the largest write: bytes of key and value.
const maxWriteKey = "ctlplane-max-write-bytes"

// Header is what a server says when a write stream begins.
type Header struct {
	// MaxWriteBytes bounds the key and value of one write. 0: the server, an earlier release, doesn't say.
	MaxWriteBytes int
}

// Metadata is the header on its way.
func (h Header) Metadata() metadata.MD {
	return metadata.Pairs(maxWriteKey, strconv.Itoa(h.MaxWriteBytes))
}

// HeaderOf reads a header. What can't be read is as if it was not there.
func HeaderOf(md metadata.MD) (h Header) {
	if values := md.Get(maxWriteKey); len(values) > 0 {
		h.MaxWriteBytes, _ = strconv.Atoi(values[0])
	}
	return h
}
