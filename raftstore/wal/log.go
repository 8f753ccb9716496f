// Package wal is a Raft log store: the log is a row of files that are only ever appended to, and an append
// is one write and one fdatasync.
package wal

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sort"
	"sync"
	"time"

	"github.com/hashicorp/raft"
	"golang.org/x/sys/unix"
)

// DefaultSegmentBytes is the size at which a segment is followed by a new one, unless the options say otherwise.
const DefaultSegmentBytes = 64 << 20

var (
	// ErrCorrupt is in the error for a log that has lost entries that it had acknowledged.
	ErrCorrupt = errors.New("the Raft log is damaged")
	// ErrClosed is the answer of a log that was closed.
	ErrClosed = errors.New("the Raft log is closed")
)

// Options are the settings of a log; the zero value is usable.
type Options struct {
	// SegmentBytes is the size at which a segment is followed by a new one; 0: DefaultSegmentBytes. It
	// may differ from the last time. A segment is longer by what its last batch has too much.
	SegmentBytes int64
	// Logger gets what a crash left behind and failures of the disk; nil: slog.Default().
	Logger *slog.Logger
	// UnsafeNoSync leaves it to the operating system when entries reach the disk.
	UnsafeNoSync bool
	// OnSync is told how long each append took to become durable; nil: nobody is.
	OnSync func(time.Duration)
	// OnWrite is told of each append how many bytes were written, and how long that took; nil: nobody is.
	OnWrite func(bytes int64, took time.Duration)
	// OnFailed is told, once, that the disk has failed so that the log takes no more entries (invariant 5); nil: nobody is.
	OnFailed func(error)
}

// Log is a Raft log on disk. It implements raft.LogStore and raft.MonotonicLogStore; its methods can be
// called at the same time.
//
// Invariants:
//
//  1. The entries are consecutive: base+len(offsets) of a segment is the base of the next, and every
//     segment has an entry. An empty log has no segments.
//  2. An entry can be read, and counts in LastIndex, only once it is durable.
//  3. A batch is written only after the batch before it is durable, a segment made only after the segment
//     before it is durable. So only the last batch on disk can be incomplete.
//  4. After the end of the last segment its file has only zeros, but for a batch that is being written.
//  5. After an fsync has failed, nothing is written any more: the kernel has forgotten which pages it owes
//     the disk, and another fsync would succeed without them.
type Log struct {
	segmentBytes int64
	logger       *slog.Logger
	dir          *os.File // locked as long as it is open
	fsync        func(f *os.File, s syncScope) error
	onSync       func(time.Duration)
	onWrite      func(int64, time.Duration)
	onFailed     func(error)

	// writing is held by whoever changes the log. What changes is changed with mu held too, so that a
	// writer may read without mu, and readers are not kept waiting for the disk.
	writing sync.Mutex
	buf     []byte
	failed  error // the answer to every write from now on

	mu       sync.RWMutex
	segments []*segment
	first    uint64 // index of the first entry, if there are entries
	closed   bool
}

var (
	_ raft.LogStore          = (*Log)(nil)
	_ raft.MonotonicLogStore = (*Log)(nil)
)

// Open opens the log in a directory, which it makes if need be, and which no one else can have open. The
// error is ErrCorrupt for a log that is not whole.
func Open(dir string, options Options) (_ *Log, err error) {
	return open(dir, options, fsync)
}

func open(dir string, options Options, fsync func(*os.File, syncScope) error) (_ *Log, err error) {
	l := &Log{segmentBytes: options.SegmentBytes, logger: options.Logger, fsync: fsync, onSync: options.OnSync, onWrite: options.OnWrite, onFailed: options.OnFailed}
	if options.UnsafeNoSync {
		l.onSync, fsync = nil, func(*os.File, syncScope) error { return nil }
		l.fsync = fsync
	}
	if l.segmentBytes <= 0 {
		l.segmentBytes = DefaultSegmentBytes
	}
	if l.logger == nil {
		l.logger = slog.Default()
	}
	if l.dir, err = makeDir(dir, fsync); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, l.Close())
		}
	}()
	if err := unix.Flock(int(l.dir.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return nil, fmt.Errorf("lock %s: %w: does another process run on this data directory?", dir, err)
	}
	if err := l.recover(); err != nil {
		return nil, err
	}
	return l, nil
}

// makeDir makes a directory if need be, durably beneath its parent, and opens it.
func makeDir(dir string, fsync func(*os.File, syncScope) error) (*os.File, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	parent, err := os.Open(filepath.Dir(dir))
	if err != nil {
		return nil, err
	}
	if err := errors.Join(fsync(parent, whole), parent.Close()); err != nil {
		return nil, err
	}
	return os.Open(dir)
}

// Close closes the log. What StoreLogs has returned for is safe without it.
func (l *Log) Close() error {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return nil
	}
	l.closed, l.failed = true, ErrClosed
	var err error
	for _, s := range l.segments {
		err = errors.Join(err, s.file.Close())
	}
	l.segments = nil
	return errors.Join(err, l.dir.Close())
}

// IsMonotonic tells Raft that the log can't have gaps: it deletes all entries before it stores some that
// don't follow the last one.
func (l *Log) IsMonotonic() bool { return true }

// FirstIndex returns the index of the first entry, 0 if there is none.
func (l *Log) FirstIndex() (uint64, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return 0, ErrClosed
	}
	first, _ := l.bounds()
	return first, nil
}

// LastIndex returns the index of the last entry, 0 if there is none.
func (l *Log) LastIndex() (uint64, error) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return 0, ErrClosed
	}
	_, last := l.bounds()
	return last, nil
}

// bounds returns the first and the last index, both 0 if there is no entry.
func (l *Log) bounds() (first, last uint64) {
	if len(l.segments) == 0 {
		return 0, 0
	}
	return l.first, l.segments[len(l.segments)-1].next() - 1
}

// GetLog reads an entry into log; raft.ErrLogNotFound if there is none at the index.
func (l *Log) GetLog(index uint64, log *raft.Log) error {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if l.closed {
		return ErrClosed
	}
	first, last := l.bounds()
	if index < first || index > last || last == 0 {
		return raft.ErrLogNotFound
	}
	after := sort.Search(len(l.segments), func(i int) bool { return l.segments[i].base > index })
	return l.segments[after-1].read(index, log)
}

// Sizes are a log's, for metrics.
type Sizes struct {
	Segments int
	Entries  uint64
	// Bytes are those of the segments' entries, without the space that is claimed for more.
	Bytes int64
}

// Sizes returns the log's sizes.
func (l *Log) Sizes() Sizes {
	l.mu.RLock()
	defer l.mu.RUnlock()
	sizes := Sizes{Segments: len(l.segments)}
	if first, last := l.bounds(); last > 0 {
		sizes.Entries = last - first + 1
	}
	for _, s := range l.segments {
		sizes.Bytes += s.end
	}
	return sizes
}
