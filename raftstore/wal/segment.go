package wal

import (
	"errors"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"
	"golang.org/x/sys/unix"
)

// A segment file begins with a header, and its records follow:
//
//	0  magic  8  version  12  salt  16  index of the first entry  24  zeros  28  crc of all before
const (
	segmentMagic       = "ctlplogs"
	segmentVersion     = 1
	segmentHeaderBytes = 32
	segmentSuffix      = ".log"
	// unnamedSegment is a segment in the making: it gets its name once its header is durable.
	unnamedSegment = "segment.new"
	// writeBytes is how much of a batch is gathered for one write.
	writeBytes = 4 << 20
)

// segment is a file of consecutive entries. Entry base+i is at offsets[i]; the next one goes to end.
type segment struct {
	path    string
	file    *os.File
	base    uint64
	salt    uint32
	offsets []int64
	end     int64
}

func segmentName(base uint64) string { return fmt.Sprintf("%016x%s", base, segmentSuffix) }

// next is the index after the segment's last entry.
func (s *segment) next() uint64 { return s.base + uint64(len(s.offsets)) }

// createSegment makes an empty segment that has its name, durably.
func (l *Log) createSegment(base uint64) (_ *segment, err error) {
	unnamed := filepath.Join(l.dir.Name(), unnamedSegment)
	f, err := os.OpenFile(unnamed, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	s := &segment{
		path: filepath.Join(l.dir.Name(), segmentName(base)),
		file: f,
		base: base,
		salt: rand.Uint32(),
		end:  segmentHeaderBytes,
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.Close(), removeIfThere(unnamed))
		}
	}()
	if err := s.preallocate(l.segmentBytes); err != nil {
		return nil, err
	}
	if _, err := f.WriteAt(segmentHeader(base, s.salt), 0); err != nil {
		return nil, err
	}
	if err := l.sync(f, whole); err != nil {
		return nil, err
	}
	if err := os.Rename(unnamed, s.path); err != nil {
		return nil, err
	}
	return s, l.sync(l.dir, whole)
}

func segmentHeader(base uint64, salt uint32) []byte {
	b := append(make([]byte, 0, segmentHeaderBytes), segmentMagic...)
	b = order.AppendUint32(b, segmentVersion)
	b = order.AppendUint32(b, salt)
	b = order.AppendUint64(b, base)
	b = order.AppendUint32(b, 0)
	return order.AppendUint32(b, crc32.Checksum(b, castagnoli))
}

// readHeader reads the segment's header and holds it against the file's name.
func (s *segment) readHeader() error {
	var b [segmentHeaderBytes]byte
	if n, err := s.file.ReadAt(b[:], 0); n < len(b) {
		return s.corrupt(0, fmt.Sprintf("the segment's header can't be read (%v)", err))
	}
	switch {
	case string(b[:8]) != segmentMagic || order.Uint32(b[28:]) != crc32.Checksum(b[:28], castagnoli):
		return s.corrupt(0, "the segment's header is not intact")
	case order.Uint32(b[8:]) != segmentVersion:
		return fmt.Errorf("%s has format %d, this program knows %d: start the version that wrote it", s.path, order.Uint32(b[8:]), segmentVersion)
	case order.Uint64(b[16:]) != s.base:
		return s.corrupt(0, fmt.Sprintf("the segment's header says that it begins with entry %d", order.Uint64(b[16:])))
	}
	s.salt = order.Uint32(b[12:])
	return nil
}

// preallocate claims the blocks up to size, so that a full disk is noticed when a segment is begun, and so
// that an append has little for the file system's journal to record.
func (s *segment) preallocate(size int64) error {
	if size <= s.end {
		return nil
	}
	for {
		err := unix.Fallocate(int(s.file.Fd()), 0, 0, size)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case errors.Is(err, unix.EOPNOTSUPP):
			return nil
		case err != nil:
			return &os.PathError{Op: "fallocate", Path: s.path, Err: err}
		}
		return nil
	}
}

// write writes the records of a batch after the segment's end, and returns where they begin and end. The
// segment is not changed. buf is the memory to use; it is returned for the next time.
func (s *segment) write(buf []byte, logs []*raft.Log) (offsets []int64, end int64, _ []byte, err error) {
	offsets, end, buf = make([]int64, 0, len(logs)), s.end, buf[:0]
	for i, log := range logs {
		offsets = append(offsets, end+int64(len(buf)))
		buf = appendRecord(buf, s.salt, log, i)
		if len(buf) < writeBytes && i < len(logs)-1 {
			continue
		}
		if _, err := s.file.WriteAt(buf, end); err != nil {
			return nil, 0, buf, err
		}
		end, buf = end+int64(len(buf)), buf[:0]
	}
	return offsets, end, buf, nil
}

// read reads the entry at index, which the segment has.
func (s *segment) read(index uint64, log *raft.Log) error {
	i := index - s.base
	start, end := s.offsets[i], s.end
	if i+1 < uint64(len(s.offsets)) {
		end = s.offsets[i+1]
	}
	b := make([]byte, end-start)
	if _, err := s.file.ReadAt(b, start); err != nil {
		return fmt.Errorf("read entry %d: %w", index, err)
	}
	if err := decodeRecord(b, s.salt, index, log); err != nil {
		return s.corrupt(start, fmt.Sprintf("entry %d: %v", index, err))
	}
	return nil
}

// corrupt is the error for damage at an offset of the segment's file.
func (s *segment) corrupt(offset int64, what string) error {
	return fmt.Errorf("%w: %s at offset %d: %s; remove this member's data directory and let it join the cluster again",
		ErrCorrupt, s.path, offset, what)
}

// cut takes away, durably, what the segment's file has after the segment's end.
func (l *Log) cut(s *segment) error {
	if err := s.file.Truncate(s.end); err != nil {
		return err
	}
	if err := l.sync(s.file, whole); err != nil {
		return err
	}
	if err := s.preallocate(l.segmentBytes); err != nil {
		l.logger.Warn("a log segment's space was not claimed again; it is claimed with each append", "error", err)
	}
	return nil
}

// remove deletes the segment's file, durably. Who has it open can still read it.
func (l *Log) remove(s *segment) error {
	if err := os.Remove(s.path); err != nil {
		return err
	}
	return l.sync(l.dir, whole)
}

func removeIfThere(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}
