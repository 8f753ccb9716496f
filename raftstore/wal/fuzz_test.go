package wal

import (
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/hashicorp/raft"
)

// FuzzOpen opens any bytes as two segments: a log that opens reads back whole and takes entries, and is
// the same after another opening. With sign, the headers' checksums are made right first, so that lengths,
// indexes and places that are not are believed.
func FuzzOpen(f *testing.F) {
	const salt = 7
	var records []byte
	for i, log := range entries(1, 3, 1) {
		records = appendRecord(records, salt, log, i)
	}
	one := slices.Concat(segmentHeader(1, salt), records)
	two := slices.Concat(segmentHeader(4, salt), appendRecord(nil, salt, entry(4, 1), 0))
	for _, sign := range []bool{false, true} {
		f.Add(one, []byte(nil), sign)
		f.Add(one, two, sign)
		f.Add(slices.Concat(one, make([]byte, 99), []byte{1}), []byte(nil), sign)
	}
	long := slices.Clone(two)
	order.PutUint32(long[segmentHeaderBytes+8:], 1<<29)
	f.Add(one, long, true)
	f.Fuzz(func(t *testing.T, one, two []byte, sign bool) {
		dir := t.TempDir()
		for base, content := range map[uint64][]byte{1: one, 4: two} {
			if len(content) == 0 {
				continue
			}
			if sign {
				content = signed(content)
			}
			must(t, os.WriteFile(filepath.Join(dir, segmentName(base)), content, 0o600))
		}
		l, err := openUnsynced(dir, 1<<10)
		if err != nil {
			return
		}
		var want []*raft.Log
		first, last := bounds(t, l)
		for index := first; index <= last && last > 0; index++ {
			log := new(raft.Log)
			must(t, l.GetLog(index, log))
			want = append(want, log)
		}
		more := entries(last+1, last+9, 1)
		must(t, l.StoreLogs(more))
		must(t, l.Close())
		l, err = openUnsynced(dir, 1<<10)
		must(t, err)
		wantEntries(t, l, append(want, more...))
		must(t, l.Close())
	})
}

// signed returns a segment with the checksums of its header and its records' made right, as far as one
// record leads to the next.
func signed(content []byte) []byte {
	b := slices.Clone(content)
	if len(b) < segmentHeaderBytes {
		return b
	}
	copy(b, segmentMagic)
	order.PutUint32(b[8:], segmentVersion)
	order.PutUint32(b[28:], crc32.Checksum(b[:28], castagnoli))
	salt := order.Uint32(b[12:])
	for at := int64(segmentHeaderBytes); at+recordHeaderBytes <= int64(len(b)); {
		header := b[at : at+recordHeaderBytes]
		h := recordHeader{dataBytes: order.Uint32(header[8:]), extBytes: order.Uint32(header[12:])}
		if payload := b[at+recordHeaderBytes:]; h.payloadBytes() <= int64(len(payload)) {
			order.PutUint32(header[4:], crc32.Checksum(payload[:h.payloadBytes()], castagnoli))
		}
		order.PutUint32(header, crc32.Update(salt, castagnoli, header[4:]))
		at += h.size()
	}
	return b
}
