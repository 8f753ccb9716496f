package wal

import (
	"bufio"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// scanBytes is how much of a file is read at a time.
const scanBytes = 256 << 10

// recover finds the segments in the directory, in their order, with all their entries.
func (l *Log) recover() error {
	bases, err := l.listSegments()
	if err != nil {
		return err
	}
	for i, base := range bases {
		isLast := i == len(bases)-1
		s, err := l.openSegment(base, isLast)
		if err != nil {
			return err
		}
		l.segments = append(l.segments, s)
		// Every entry of a segment was durable before the next segment was made.
		if !isLast && s.next() != bases[i+1] {
			return s.corrupt(s.end, fmt.Sprintf("entry %d is not intact, but %s should follow the entry before that one", s.next(), segmentName(bases[i+1])))
		}
	}
	if len(l.segments) == 0 {
		return nil
	}
	if err := l.repairTail(); err != nil {
		return err
	}
	if len(l.segments) > 0 {
		l.first = l.segments[0].base
	}
	return nil
}

// listSegments returns the first indexes of the segments in the directory, ascending. A file that is none
// is an error: a log beside another kind's would be empty, and would forget acknowledged writes.
func (l *Log) listSegments() ([]uint64, error) {
	if err := removeIfThere(filepath.Join(l.dir.Name(), unnamedSegment)); err != nil {
		return nil, err
	}
	files, err := os.ReadDir(l.dir.Name())
	if err != nil {
		return nil, err
	}
	var bases []uint64
	for _, file := range files {
		base, err := strconv.ParseUint(strings.TrimSuffix(file.Name(), segmentSuffix), 16, 64)
		if err != nil || base == 0 || file.Name() != segmentName(base) || !file.Type().IsRegular() {
			return nil, fmt.Errorf("%s is no part of a log of this kind: start with the log store that wrote it, or move it away",
				filepath.Join(l.dir.Name(), file.Name()))
		}
		bases = append(bases, base)
	}
	slices.Sort(bases)
	return bases, nil
}

func (l *Log) openSegment(base uint64, isLast bool) (_ *segment, err error) {
	path := filepath.Join(l.dir.Name(), segmentName(base))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	s := &segment{path: path, file: f, base: base, end: segmentHeaderBytes}
	defer func() {
		if err != nil {
			_ = f.Close() // nothing was written
		}
	}()
	if err := s.readHeader(); err != nil {
		return nil, err
	}
	if isLast {
		// A process that was killed may have left entries in the page cache alone, or, when its fsync had
		// failed, entries there that the kernel takes for written. Once we say that we have an entry, it
		// must be on the disk: so write out the cache, forget it, and read the disk.
		if err := l.sync(f, whole); err != nil {
			return nil, err
		}
		_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_DONTNEED) // not every file system can
	}
	return s, s.scan()
}

// scan reads the segment's entries up to the first record that is not intact.
func (s *segment) scan() error {
	info, err := s.file.Stat()
	if err != nil {
		return err
	}
	size := info.Size()
	r := bufio.NewReaderSize(io.NewSectionReader(s.file, s.end, size-s.end), scanBytes)
	for size-s.end >= recordHeaderBytes {
		b, err := r.Peek(recordHeaderBytes)
		if err != nil {
			return fmt.Errorf("read %s: %w", s.path, err)
		}
		h, ok := parseRecordHeader(b, s.salt)
		if !ok || h.index != s.next() || h.size() > size-s.end {
			return nil
		}
		crc, err := checksumRecord(r, &h)
		if err != nil {
			return fmt.Errorf("read %s: %w", s.path, err)
		}
		if crc != h.payloadCRC {
			return nil
		}
		s.offsets = append(s.offsets, s.end)
		s.end += h.size()
	}
	return nil
}

// checksumRecord reads a whole record and returns its payload's checksum.
func checksumRecord(r *bufio.Reader, h *recordHeader) (crc uint32, err error) {
	if _, err := r.Discard(recordHeaderBytes); err != nil {
		return 0, err
	}
	for left := h.payloadBytes(); left > 0; {
		b, err := r.Peek(int(min(left, scanBytes)))
		if err != nil {
			return 0, err
		}
		crc = crc32.Update(crc, castagnoli, b)
		left -= int64(len(b))
		if _, err := r.Discard(len(b)); err != nil {
			return 0, err
		}
	}
	_, err = r.Discard(int(h.size() - recordHeaderBytes - h.payloadBytes()))
	return crc, err
}

// repairTail looks at what follows the last intact entry of the log. Zeros are space not used yet. Other
// bytes are a batch whose writing a crash ended, and are cut off: StoreLogs has not returned for it, so
// nobody counts on it. A record of a later batch is proof of the contrary, since no batch is written
// before the one ahead of it is durable: the log is damaged.
func (l *Log) repairTail() error {
	s := l.segments[len(l.segments)-1]
	later, dirty, err := s.findLaterBatch()
	if err != nil {
		return err
	}
	if later > 0 {
		return s.corrupt(s.end, fmt.Sprintf("entry %d is not intact, and was stored before the one at offset %d", s.next(), later))
	}
	if dirty {
		l.logger.Warn("cut off the log a batch that a crash left unfinished", "file", s.path, "offset", s.end, "entry", s.next())
	}
	if len(s.offsets) > 0 {
		if dirty {
			return l.cut(s)
		}
		return nil
	}
	// A segment's first batch did not get done: the segment is not needed yet.
	if err := s.file.Close(); err != nil {
		return err
	}
	l.segments = l.segments[:len(l.segments)-1]
	if err := l.remove(s); err != nil || len(l.segments) == 0 {
		return err
	}
	return l.cut(l.segments[len(l.segments)-1])
}

// findLaterBatch searches what follows the segment's end for a record of a batch that was written after
// the one that the missing entry, next(), is of. It returns the record's offset, or 0, and whether there
// is anything but zeros.
func (s *segment) findLaterBatch() (offset int64, dirty bool, err error) {
	buf := make([]byte, scanBytes)
	for at := s.end; ; at += scanBytes - recordHeaderBytes {
		n, err := s.file.ReadAt(buf, at)
		if err != nil && err != io.EOF {
			return 0, false, err
		}
		for i := 0; i < n; i += recordAlign {
			if n-i >= recordAlign && order.Uint64(buf[i:]) == 0 {
				continue
			}
			dirty = dirty || !isZero(buf[i:min(i+recordAlign, n)])
			if n-i < recordHeaderBytes {
				continue
			}
			h, ok := parseRecordHeader(buf[i:], s.salt)
			if ok && h.batch() > s.next() {
				return at + int64(i), true, nil
			}
		}
		if err == io.EOF {
			return 0, dirty, nil
		}
	}
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
