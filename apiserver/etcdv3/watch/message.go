package watch

import (
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of etcd's WatchResponse and ResponseHeader.
const (
	fieldWatchHeader   = 1
	fieldWatchID       = 2
	fieldWatchFragment = 7

	fieldClusterID = 1
	fieldMemberID  = 2
	fieldRevision  = 3
	fieldRaftTerm  = 4
)

// copiedEvents is up to what size events are copied into one piece with the header, which is cheaper to send than
// many pieces. Larger ones are sent from where they are, shared with all who get them.
const copiedEvents = 16 << 10

// message makes WatchResponses with events of parts that are encoded already: most of a stream's watches get the
// same events, so what differs is their id alone, and protobuf's fields may come in any order.
type message struct {
	common   []mem.Buffer // all but the id
	revision int64        // that of the header
	spare    []mem.Buffer // room for the parts of the next messages
	parts    mem.BufferSlice
}

// Encode returns the message for the wire, as the codec of the client port asks for it. The parts belong to no pool: nothing has to be freed.
func (m *message) Encode() mem.BufferSlice { return m.parts }

// sameFor makes the message of the same events for another watch.
func (m *message) sameFor(id mem.Buffer) {
	n := 1 + len(m.common)
	if len(m.spare) < n {
		m.spare = make([]mem.Buffer, max(n, 64))
	}
	m.parts, m.spare = mem.BufferSlice(m.spare[:n:n]), m.spare[n:]
	m.parts[0] = id
	copy(m.parts[1:], m.common)
}

// keptParts is how many parts are kept for the next message: more hold on to the events of a very large revision.
const keptParts = 4096

// sent lets go of the parts of a message that was larger than most.
func (m *message) sent() {
	if len(m.common) > keptParts {
		*m = message{}
	}
}

// forget keeps the common part from being taken for that of the last events.
func (m *message) forget() { m.common = m.common[:0] }

// holds tells whether the common part is that of the last events, for a watch that has come to revision.
func (m *message) holds(revision int64) bool { return len(m.common) > 0 && m.revision == revision }

// set makes the common part of a message of these events.
func (m *message) set(header *pb.ResponseHeader, fragment bool, events [][]byte) {
	size := 0
	for _, e := range events {
		size += len(e)
	}
	m.common, m.revision = m.common[:0], header.Revision
	const headerRoom = 64
	if size > copiedEvents {
		m.common = append(m.common, mem.SliceBuffer(appendHeader(make([]byte, 0, headerRoom), header, fragment)))
		for _, e := range events {
			m.common = append(m.common, mem.SliceBuffer(e))
		}
		return
	}
	b := appendHeader(make([]byte, 0, headerRoom+size), header, fragment)
	for _, e := range events {
		b = append(b, e...)
	}
	m.common = append(m.common, mem.SliceBuffer(b))
}

func encodeID(id int64) mem.Buffer {
	b := protowire.AppendTag(nil, fieldWatchID, protowire.VarintType)
	return mem.SliceBuffer(protowire.AppendVarint(b, uint64(id)))
}

func appendHeader(b []byte, h *pb.ResponseHeader, fragment bool) []byte {
	var header [48]byte
	fields := header[:0]
	for field, v := range [...]uint64{fieldClusterID: h.ClusterId, fieldMemberID: h.MemberId, fieldRevision: uint64(h.Revision), fieldRaftTerm: h.RaftTerm} {
		if v != 0 {
			fields = protowire.AppendTag(fields, protowire.Number(field), protowire.VarintType)
			fields = protowire.AppendVarint(fields, v)
		}
	}
	b = protowire.AppendTag(b, fieldWatchHeader, protowire.BytesType)
	b = protowire.AppendBytes(b, fields)
	if fragment {
		b = protowire.AppendTag(b, fieldWatchFragment, protowire.VarintType)
		b = protowire.AppendVarint(b, 1)
	}
	return b
}
