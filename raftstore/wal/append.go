package wal

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/hashicorp/raft"
	"golang.org/x/sys/unix"

	"github.com/ctlplane/ctlplane/broken"
)

// StoreLog appends an entry: StoreLogs with one.
func (l *Log) StoreLog(log *raft.Log) error { return l.StoreLogs([]*raft.Log{log}) }

// StoreLogs appends entries that follow each other and the log's last one; an empty log may begin
// anywhere. When it returns they are durable. When it fails the log is as it was before, and the next try
// may succeed (the disk was full, say); but once an fsync has failed, every call answers its error.
func (l *Log) StoreLogs(logs []*raft.Log) error {
	if len(logs) == 0 {
		return nil
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	if l.failed != nil {
		return l.failed
	}
	if err := l.checkBatch(logs); err != nil {
		return err
	}
	s, err := l.segmentForAppend(logs[0].Index)
	if err != nil {
		return fmt.Errorf("begin a log segment: %w", err)
	}
	begun := time.Now()
	offsets, end, buf, err := s.write(l.buf, logs)
	if l.buf = buf; cap(buf) > 2*writeBytes {
		l.buf = nil
	}
	if err != nil {
		return errors.Join(err, l.undo(s))
	}
	if l.onWrite != nil {
		l.onWrite(end-s.end, time.Since(begun))
	}
	if err := l.sync(s.file, dataOnly); err != nil {
		if len(s.offsets) == 0 {
			err = errors.Join(err, s.file.Close())
		}
		return err
	}
	l.publish(s, offsets, end)
	return nil
}

func (l *Log) checkBatch(logs []*raft.Log) error {
	next := logs[0].Index
	if _, last := l.bounds(); last > 0 {
		next = last + 1
	}
	for _, log := range logs {
		if log.Index != next || next == 0 {
			return fmt.Errorf("entry %d can't be stored where entry %d is due", log.Index, next)
		}
		if len(log.Data)+len(log.Extensions) > maxPayloadBytes {
			return fmt.Errorf("entry %d has %d bytes, more than the %d that an entry can have", next, len(log.Data)+len(log.Extensions), maxPayloadBytes)
		}
		next++
	}
	return nil
}

// segmentForAppend returns the segment that the entry at next goes into. A new one is not among
// l.segments before it has an entry.
func (l *Log) segmentForAppend(next uint64) (*segment, error) {
	if n := len(l.segments); n > 0 && l.segments[n-1].end < l.segmentBytes {
		return l.segments[n-1], nil
	}
	return l.createSegment(next)
}

// undo takes back what a failed write left in a segment.
func (l *Log) undo(s *segment) error {
	if len(s.offsets) > 0 {
		if err := l.cut(s); err != nil {
			return l.fail(fmt.Errorf("cut %s: %w", s.path, err))
		}
		return nil
	}
	if err := errors.Join(s.file.Close(), l.remove(s)); err != nil {
		return l.fail(fmt.Errorf("remove %s: %w", s.path, err))
	}
	return nil
}

// publish makes a batch that is durable readable.
func (l *Log) publish(s *segment, offsets []int64, end int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.segments) == 0 {
		l.first = s.base
	}
	if len(s.offsets) == 0 {
		l.segments = append(l.segments, s)
	}
	s.offsets, s.end = append(s.offsets, offsets...), end
}

// syncScope is what of a file a sync makes durable.
type syncScope int

const (
	// whole is data and metadata; the sync that a directory needs.
	whole syncScope = iota
	// dataOnly leaves out metadata that reading the data does not need.
	dataOnly
)

func fsync(f *os.File, scope syncScope) error {
	if scope == whole {
		return f.Sync()
	}
	for {
		err := unix.Fdatasync(int(f.Fd()))
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EINTR) {
			return &os.PathError{Op: "fdatasync", Path: f.Name(), Err: err}
		}
	}
}

// sync makes a file durable; if that fails, the log takes no more writes.
func (l *Log) sync(f *os.File, scope syncScope) error {
	begun := time.Now()
	if broken.Is(broken.AnswerBeforeSync) && scope == dataOnly {
		time.AfterFunc(100*time.Millisecond, func() { _ = l.fsync(f, scope) })
		return nil
	}
	if err := l.fsync(f, scope); err != nil {
		return l.fail(err)
	}
	if l.onSync != nil && scope == dataOnly {
		l.onSync(time.Since(begun))
	}
	return nil
}

// fail makes err the answer to every write from now on.
func (l *Log) fail(err error) error {
	if l.failed == nil {
		l.failed = fmt.Errorf("the Raft log takes no more entries until a restart: %w", err)
		l.logger.Error("the disk failed under the Raft log", "error", l.failed)
		if l.onFailed != nil {
			l.onFailed(l.failed)
		}
	}
	return l.failed
}
