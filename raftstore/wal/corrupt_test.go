package wal

import (
	"bytes"
	"errors"
	"hash/crc32"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/raft"
)

// wantCorrupt fails unless opening the log fails, with an error that names the file and the remedy.
func wantCorrupt(t *testing.T, dir, file string) {
	t.Helper()
	l, err := openUnsynced(dir, 1<<10)
	if err == nil {
		defer func() { must(t, l.Close()) }()
		first, last := bounds(t, l)
		t.Fatalf("a damaged log was opened, with entries %d to %d", first, last)
	}
	for _, part := range []string{file, "offset", "remove this member's data directory"} {
		if !errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), part) {
			t.Fatalf("the error for a damaged log does not say %q: %v", part, err)
		}
	}
}

// TestDamagedEntries turns a bit of each byte of all that was acknowledged before the last batch: Open
// finds it, unless the byte is padding, and then nothing is lost.
func TestDamagedEntries(t *testing.T) {
	origin := t.TempDir()
	l := mustOpen(t, origin, 1<<10)
	for index := uint64(1); index <= 16; index += 2 {
		must(t, l.StoreLogs(entries(index, index+1, 1)))
	}
	last := entries(17, 18, 1)
	must(t, l.StoreLogs(last))
	tail := l.segments[len(l.segments)-1]
	lastBatch := tail.offsets[17-tail.base]
	if len(l.segments) < 3 || lastBatch == segmentHeaderBytes {
		t.Fatal("the log is not laid out as the test needs it")
	}
	padding := map[string]map[int64]bool{}
	ends := map[string]int64{}
	for _, s := range l.segments {
		name := filepath.Base(s.path)
		padding[name], ends[name] = map[int64]bool{}, s.end
		for i, start := range s.offsets {
			log := entry(s.base+uint64(i), 1)
			h := recordHeader{dataBytes: uint32(len(log.Data)), extBytes: uint32(len(log.Extensions))}
			for at := start + recordHeaderBytes + h.payloadBytes(); at < start+h.size(); at++ {
				padding[name][at] = true
			}
		}
	}
	ends[filepath.Base(tail.path)] = lastBatch

	dir := t.TempDir()
	copyLog(t, origin, dir)
	for name, end := range ends {
		path := filepath.Join(dir, name)
		whole, err := os.ReadFile(path)
		must(t, err)
		for at := range end {
			damaged := bytes.Clone(whole)
			damaged[at] ^= 1 << (at % 8)
			must(t, os.WriteFile(path, damaged, 0o600))
			if !padding[name][at] {
				wantCorrupt(t, dir, name)
				continue
			}
			l, err := openUnsynced(dir, 1<<10)
			must(t, err)
			wantEntries(t, l, entries(1, 18, 1))
			must(t, l.Close())
		}
		must(t, os.WriteFile(path, whole, 0o600))
	}
}

func TestMissingSegment(t *testing.T) {
	dir := t.TempDir()
	l := mustOpen(t, dir, 500)
	for index := uint64(1); index <= 40; index++ {
		must(t, l.StoreLog(entry(index, 1)))
	}
	must(t, l.Close())
	files := segmentFiles(t, dir)
	slices.Sort(files)
	must(t, os.Remove(files[2]))
	wantCorrupt(t, dir, filepath.Base(files[1]))
	must(t, os.Truncate(files[1], 10))
	wantCorrupt(t, dir, filepath.Base(files[1]))
}

// TestDamageWhileOpen: an entry that does not read back as it was stored is an error, not an entry.
func TestDamageWhileOpen(t *testing.T) {
	l := mustOpen(t, t.TempDir(), 0)
	must(t, l.StoreLogs(entries(1, 5, 1)))
	s := l.segments[0]
	if _, err := s.file.WriteAt([]byte{1, 2, 3}, s.offsets[2]+recordHeaderBytes/2); err != nil {
		t.Fatal(err)
	}
	if err := l.GetLog(3, new(raft.Log)); !errors.Is(err, ErrCorrupt) {
		t.Fatal(err)
	}
}

// TestStoredLogIsNoLog tears a batch of which an entry's data is a copy of a log: that copy's records
// must not pass for records of the log, and so for damage.
func TestStoredLogIsNoLog(t *testing.T) {
	other := mustOpen(t, t.TempDir(), 0)
	must(t, other.StoreLogs(entries(1, 1, 1)))
	must(t, other.StoreLogs(entries(2, 9, 1)))
	content, err := os.ReadFile(other.segments[0].path)
	must(t, err)

	dir := t.TempDir()
	l := mustOpen(t, dir, 1<<20)
	must(t, l.StoreLog(&raft.Log{Index: 1, Data: content[:other.segments[0].end]}))
	path := l.segments[0].path
	must(t, l.Close())
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	must(t, err)
	_, err = f.WriteAt(make([]byte, 16), segmentHeaderBytes)
	must(t, errors.Join(err, f.Close()))
	wantEntries(t, mustOpen(t, dir, 1<<20), nil)
}

func TestOtherFormat(t *testing.T) {
	dir := t.TempDir()
	header := segmentHeader(1, 0)
	header[8]++
	order.PutUint32(header[28:], crc32.Checksum(header[:28], castagnoli))
	must(t, os.WriteFile(filepath.Join(dir, segmentName(1)), header, 0o600))
	if _, err := Open(dir, Options{}); err == nil || !strings.Contains(err.Error(), "format 2") {
		t.Fatal(err)
	}
}
