package wal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"
	"time"

	"github.com/hashicorp/raft"
)

// A record is one Raft entry, at an offset that is a multiple of recordAlign (all little endian):
//
//	 0  crc of what follows up to the payload, begun with the segment's salt
//	 4  crc of the payload
//	 8  length of the data          12  length of the extensions
//	16  index                       24  term
//	32  appended at, nanoseconds since 1970, 0: not known
//	40  position in its batch, from 0  44  type, then three zero bytes
//	48  payload: data, extensions, zeros up to the next multiple of recordAlign
//
// The header has a checksum of its own so that a search can tell a header from other bytes cheaply. The
// salt keeps a value that someone stored, and that holds a copy of a log, from being taken for records.
// The position in the batch tells a batch that a power failure tore, whose later pages may have reached the
// disk without its earlier ones, from damage to entries that were acknowledged: see findLaterBatch.
const (
	recordHeaderBytes = 48
	recordAlign       = 8
	// maxPayloadBytes bounds what one record holds; a longer length in a file is not believed.
	maxPayloadBytes = 1 << 30
)

var (
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
	order      = binary.LittleEndian
)

type recordHeader struct {
	payloadCRC          uint32
	dataBytes, extBytes uint32
	index, term         uint64
	appendedAt          int64
	position            uint32
	kind                raft.LogType
}

func (h *recordHeader) payloadBytes() int64 { return int64(h.dataBytes) + int64(h.extBytes) }

// size is the whole record's, with its padding.
func (h *recordHeader) size() int64 {
	return (recordHeaderBytes + h.payloadBytes() + recordAlign - 1) &^ (recordAlign - 1)
}

// batch is the index of the first entry that was stored together with this one.
func (h *recordHeader) batch() uint64 { return h.index - uint64(h.position) }

// appendRecord appends the record of an entry to buf. The only copy of the entry's data is made here.
func appendRecord(buf []byte, salt uint32, log *raft.Log, position int) []byte {
	h := recordHeader{dataBytes: uint32(len(log.Data)), extBytes: uint32(len(log.Extensions))}
	start := len(buf)
	buf = slices.Grow(buf, int(h.size()))[:start+recordHeaderBytes]
	buf = append(buf, log.Data...)
	buf = append(buf, log.Extensions...)
	payloadCRC := crc32.Checksum(buf[start+recordHeaderBytes:], castagnoli)
	var padding [recordAlign]byte
	buf = append(buf, padding[:int(h.size())-(len(buf)-start)]...)

	b := buf[start : start+recordHeaderBytes]
	order.PutUint32(b[4:], payloadCRC)
	order.PutUint32(b[8:], h.dataBytes)
	order.PutUint32(b[12:], h.extBytes)
	order.PutUint64(b[16:], log.Index)
	order.PutUint64(b[24:], log.Term)
	var appendedAt int64
	if !log.AppendedAt.IsZero() {
		appendedAt = log.AppendedAt.UnixNano()
	}
	order.PutUint64(b[32:], uint64(appendedAt))
	order.PutUint32(b[40:], uint32(position))
	order.PutUint32(b[44:], uint32(log.Type))
	order.PutUint32(b, crc32.Update(salt, castagnoli, b[4:]))
	return buf
}

// parseRecordHeader reads a header from b, which has at least recordHeaderBytes; false if there is none.
func parseRecordHeader(b []byte, salt uint32) (recordHeader, bool) {
	b = b[:recordHeaderBytes]
	if order.Uint32(b) != crc32.Update(salt, castagnoli, b[4:]) {
		return recordHeader{}, false
	}
	h := recordHeader{
		payloadCRC: order.Uint32(b[4:]),
		dataBytes:  order.Uint32(b[8:]),
		extBytes:   order.Uint32(b[12:]),
		index:      order.Uint64(b[16:]),
		term:       order.Uint64(b[24:]),
		appendedAt: int64(order.Uint64(b[32:])),
		position:   order.Uint32(b[40:]),
		kind:       raft.LogType(b[44]),
	}
	return h, h.payloadBytes() <= maxPayloadBytes && uint64(h.position) < h.index
}

var errBadRecord = errors.New("no intact record")

// decodeRecord fills log from b, which holds exactly the record of the entry at index. The log's bytes
// are those of b.
func decodeRecord(b []byte, salt uint32, index uint64, log *raft.Log) error {
	if len(b) < recordHeaderBytes {
		return errBadRecord
	}
	h, ok := parseRecordHeader(b, salt)
	if !ok || h.size() != int64(len(b)) {
		return errBadRecord
	}
	if h.index != index {
		return fmt.Errorf("%w: it is entry %d's", errBadRecord, h.index)
	}
	data := b[recordHeaderBytes:][:h.payloadBytes()]
	if crc32.Checksum(data, castagnoli) != h.payloadCRC {
		return errBadRecord
	}
	*log = raft.Log{Index: h.index, Term: h.term, Type: h.kind}
	if n := h.dataBytes; n > 0 {
		log.Data = data[:n:n]
	}
	if h.extBytes > 0 {
		log.Extensions = data[h.dataBytes:]
	}
	if h.appendedAt != 0 {
		log.AppendedAt = time.Unix(0, h.appendedAt)
	}
	return nil
}
