package headercache

import (
	"bytes"
	"encoding/binary"
	"hash/maphash"
	"slices"

	"github.com/ctlplane/ctlplane/kv/layout"
)

// table is a map from keys to headers that holds no pointer for each of them: there may be hundreds of thousands, for
// as long as the process lives, and the garbage collector would look at each again and again.
//
// A record is a reference to the next record of the same hash, a header, and the key, in a chunk of memory. Records are
// changed in place and never removed but by reset, which keeps the memory.
type table struct {
	seed   maphash.Seed
	first  map[uint64]recordRef // by the hash of the key; 0 is none
	chunks [][]byte             // each filled up to its length
	filled int                  // chunks in use; the last of them takes the next record
	bytes  int                  // of all records, with what the map takes for them
}

// recordRef is where a record is: its chunk's number from 1 on, and the offset in it.
type recordRef uint64

func refOf(chunk, offset int) recordRef { return recordRef(chunk+1)<<32 | recordRef(offset) }

func (r recordRef) chunk() int  { return int(r>>32) - 1 }
func (r recordRef) offset() int { return int(uint32(r)) }

const (
	chunkBytes = 256 << 10
	// A record's fields: the reference to the next record, the header's five numbers, the key's length.
	recordHeader = 8
	recordKeyLen = recordHeader + 5*8
	recordKey    = recordKeyLen + 4
	// mapEntryBytes is about what Go's map takes for an entry.
	mapEntryBytes = 24
)

func newTable() *table {
	return &table{seed: maphash.MakeSeed(), first: map[uint64]recordRef{}}
}

func (t *table) get(key []byte) (layout.Header, bool) {
	record := t.find(t.first[maphash.Bytes(t.seed, key)], key)
	if record == nil {
		return layout.Header{}, false
	}
	number := func(i int) int64 { return int64(binary.LittleEndian.Uint64(record[recordHeader+8*i:])) }
	return layout.Header{Create: number(0), Mod: number(1), Version: number(2), Lease: number(3), Size: number(4)}, true
}

func (t *table) set(key []byte, h layout.Header) {
	hash := maphash.Bytes(t.seed, key)
	first := t.first[hash]
	record := t.find(first, key)
	if record == nil {
		record, t.first[hash] = t.add(first, key)
	}
	for i, n := range [...]int64{h.Create, h.Mod, h.Version, h.Lease, h.Size} {
		binary.LittleEndian.PutUint64(record[recordHeader+8*i:], uint64(n))
	}
}

// find returns the record of key, from at on along its hash; nil: there is none.
func (t *table) find(at recordRef, key []byte) []byte {
	for at != 0 {
		record := t.chunks[at.chunk()][at.offset():]
		end := recordKey + int(binary.LittleEndian.Uint32(record[recordKeyLen:]))
		if bytes.Equal(record[recordKey:end], key) {
			return record
		}
		at = recordRef(binary.LittleEndian.Uint64(record))
	}
	return nil
}

// add makes a record for key, with no header yet, before those from next on.
func (t *table) add(next recordRef, key []byte) (record []byte, at recordRef) {
	n := recordKey + len(key)
	if t.filled == 0 || cap(t.chunks[t.filled-1])-len(t.chunks[t.filled-1]) < n {
		t.nextChunk(n)
	}
	last := t.filled - 1
	chunk := t.chunks[last]
	at = refOf(last, len(chunk))
	record = chunk[len(chunk) : len(chunk)+n]
	t.chunks[last] = chunk[:len(chunk)+n]
	binary.LittleEndian.PutUint64(record, uint64(next))
	binary.LittleEndian.PutUint32(record[recordKeyLen:], uint32(len(key)))
	copy(record[recordKey:], key)
	t.bytes += n + mapEntryBytes
	return record, at
}

// nextChunk goes on to an empty chunk with room for n bytes.
func (t *table) nextChunk(n int) {
	switch size := max(n, chunkBytes); {
	case t.filled == len(t.chunks):
		t.chunks = append(t.chunks, make([]byte, 0, size))
	case cap(t.chunks[t.filled]) < n:
		t.chunks[t.filled] = make([]byte, 0, size)
	}
	t.filled++
}

// reset empties the table. What was made for a long key is not kept.
func (t *table) reset() {
	clear(t.first)
	t.chunks = slices.DeleteFunc(t.chunks, func(chunk []byte) bool { return cap(chunk) > chunkBytes })
	for i := range t.chunks {
		t.chunks[i] = t.chunks[i][:0]
	}
	t.filled, t.bytes = 0, 0
}
