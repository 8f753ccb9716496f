package kv

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// FullDisk is what to do about a write that found the disk full.
type FullDisk int

const (
	// FullRetry tries again: there is room now, or may be.
	FullRetry FullDisk = iota
	// FullAbandon gives up what is in memory, which the Raft log has: from now on nothing is written to the
	// disk, as if the process had ended. It is for closing a store. One that is being opened is not: Open
	// fails.
	FullAbandon
)

// fullDiskFS is a file system on which a full disk does not end the database.
//
// Pebble takes it well when a table can't be written: it deletes it and tries again, so that only needs to be
// kept from happening all the time. A failure of the few small files that say which tables there are is fatal
// to it, so those wait for room.
//
// After FullAbandon new files are in memory, and nothing is removed or renamed: what is on the disk is what a
// crash would have left. A table that is being written then fails, and is written again, to memory: Pebble
// reads its tables. It doesn't read its small files.
type fullDiskFS struct {
	vfs.FS
	dir       string
	full      func() FullDisk
	abandoned atomic.Bool
	memory    vfs.FS

	mu   sync.Mutex
	made map[string]bool // files in memory
}

func newFullDiskFS(fs vfs.FS, dir string, full func() FullDisk) *fullDiskFS {
	return &fullDiskFS{FS: fs, dir: filepath.Clean(dir), full: full, memory: vfs.NewMem(), made: map[string]bool{}}
}

// Unwrap implements vfs.FS.
func (fs *fullDiskFS) Unwrap() vfs.FS { return fs.FS }

func isFull(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// patient tells whether a file waits for room until there is some. Those of checkpoints don't: what asks for
// one can ask again.
func (fs *fullDiskFS) patient(name string) bool {
	return filepath.Dir(filepath.Clean(name)) == fs.dir && !strings.HasSuffix(name, ".sst") && !strings.HasSuffix(name, ".blob")
}

// try does something that may find the disk full. It returns false when it was not done because the disk is
// abandoned.
func (fs *fullDiskFS) try(patient bool, do func() error) (done bool, err error) {
	for attempt := 0; ; attempt++ {
		if fs.abandoned.Load() {
			return false, nil
		}
		if err = do(); !isFull(err) || !patient && attempt > 0 {
			return true, err
		}
		if fs.full() == FullAbandon {
			fs.abandoned.Store(true)
		}
	}
}

// inMemory makes a file that is never on the disk.
func (fs *fullDiskFS) inMemory(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := fs.memory.MkdirAll(filepath.Dir(name), 0o700); err != nil {
		return nil, err
	}
	fs.mu.Lock()
	fs.made[name] = true
	fs.mu.Unlock()
	return fs.memory.Create(name, category)
}

func (fs *fullDiskFS) isInMemory(name string) bool {
	if !fs.abandoned.Load() {
		return false
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.made[name]
}

func (fs *fullDiskFS) create(name string, category vfs.DiskWriteCategory, create func() (vfs.File, error)) (f vfs.File, err error) {
	patient := fs.patient(name)
	done, err := fs.try(patient, func() (err error) {
		f, err = create()
		return err
	})
	if !done {
		return fs.inMemory(name, category)
	}
	if err != nil {
		return nil, err
	}
	return &fullDiskFile{File: f, fs: fs, patient: patient}, nil
}

// Create implements vfs.FS.
func (fs *fullDiskFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.create(name, category, func() (vfs.File, error) { return fs.FS.Create(name, category) })
}

// OpenReadWrite implements vfs.FS.
func (fs *fullDiskFS) OpenReadWrite(name string, category vfs.DiskWriteCategory, options ...vfs.OpenOption) (vfs.File, error) {
	return fs.create(name, category, func() (vfs.File, error) { return fs.FS.OpenReadWrite(name, category, options...) })
}

// ReuseForWrite implements vfs.FS.
func (fs *fullDiskFS) ReuseForWrite(old, name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	return fs.create(name, category, func() (vfs.File, error) { return fs.FS.ReuseForWrite(old, name, category) })
}

// Open implements vfs.FS.
func (fs *fullDiskFS) Open(name string, options ...vfs.OpenOption) (vfs.File, error) {
	if fs.isInMemory(name) {
		return fs.memory.Open(name, options...)
	}
	return fs.FS.Open(name, options...)
}

// OpenDir implements vfs.FS.
func (fs *fullDiskFS) OpenDir(name string) (vfs.File, error) {
	f, err := fs.FS.OpenDir(name)
	if err != nil {
		return nil, err
	}
	return &fullDiskFile{File: f, fs: fs}, nil
}

// Stat implements vfs.FS.
func (fs *fullDiskFS) Stat(name string) (vfs.FileInfo, error) {
	if fs.isInMemory(name) {
		return fs.memory.Stat(name)
	}
	return fs.FS.Stat(name)
}

// Link implements vfs.FS.
func (fs *fullDiskFS) Link(old, name string) error {
	_, err := fs.try(fs.patient(name), func() error { return fs.FS.Link(old, name) })
	return err
}

// Rename implements vfs.FS.
func (fs *fullDiskFS) Rename(old, name string) error {
	_, err := fs.try(fs.patient(name), func() error { return fs.FS.Rename(old, name) })
	return err
}

// MkdirAll implements vfs.FS.
func (fs *fullDiskFS) MkdirAll(dir string, perm os.FileMode) error {
	_, err := fs.try(false, func() error { return fs.FS.MkdirAll(dir, perm) })
	return err
}

// Remove implements vfs.FS.
func (fs *fullDiskFS) Remove(name string) error {
	if fs.abandoned.Load() {
		return nil
	}
	return fs.FS.Remove(name)
}

// RemoveAll implements vfs.FS.
func (fs *fullDiskFS) RemoveAll(name string) error {
	if fs.abandoned.Load() {
		return nil
	}
	return fs.FS.RemoveAll(name)
}

// fullDiskFile is an open file of a fullDiskFS.
type fullDiskFile struct {
	vfs.File
	fs      *fullDiskFS
	patient bool
}

// Write implements vfs.File. What fits is written before the rest waits.
func (f *fullDiskFile) Write(p []byte) (n int, err error) {
	done, err := f.fs.try(f.patient, func() error {
		m, err := f.File.Write(p[n:])
		n += max(m, 0)
		if err == nil && n < len(p) {
			err = io.ErrShortWrite
		}
		return err
	})
	if !done {
		return f.abandon(len(p))
	}
	return n, err
}

// WriteAt implements vfs.File.
func (f *fullDiskFile) WriteAt(p []byte, offset int64) (n int, err error) {
	done, err := f.fs.try(f.patient, func() error {
		m, err := f.File.WriteAt(p[n:], offset+int64(n))
		n += max(m, 0)
		return err
	})
	if !done {
		return f.abandon(len(p))
	}
	return n, err
}

// abandon answers a write to a file on the disk after that was abandoned.
func (f *fullDiskFile) abandon(length int) (n int, err error) {
	if f.patient {
		return length, nil
	}
	return 0, syscall.ENOSPC
}

// Sync implements vfs.File. It is not tried again: after a sync that failed nobody knows what the disk has.
func (f *fullDiskFile) Sync() error {
	return f.sync(f.File.Sync)
}

// SyncData implements vfs.File.
func (f *fullDiskFile) SyncData() error {
	return f.sync(f.File.SyncData)
}

func (f *fullDiskFile) sync(sync func() error) error {
	if f.fs.abandoned.Load() {
		return nil
	}
	return sync()
}

// SyncTo implements vfs.File.
func (f *fullDiskFile) SyncTo(length int64) (fullSync bool, err error) {
	if f.fs.abandoned.Load() {
		return true, nil
	}
	return f.File.SyncTo(length)
}

// Preallocate implements vfs.File. It is done without where there is no room for it.
func (f *fullDiskFile) Preallocate(offset, length int64) error {
	if err := f.File.Preallocate(offset, length); err != nil && !isFull(err) {
		return err
	}
	return nil
}
