package disk

import (
	"context"
	"errors"
	"io"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
)

// handle is an open file.
type handle struct {
	file *file
	node *node
}

var (
	_ = fs.FileReader(&handle{})
	_ = fs.FileWriter(&handle{})
	_ = fs.FileFsyncer(&handle{})
	_ = fs.FileFlusher(&handle{})
	_ = fs.FileAllocater(&handle{})
	_ = fs.FileReleaser(&handle{})
)

func (h *handle) Read(_ context.Context, dest []byte, off int64) (fuse.ReadResult, syscall.Errno) {
	leave, errno := h.node.enter(false)
	if errno != 0 {
		return nil, errno
	}
	defer leave()
	n, err := h.file.live.ReadAt(dest, off)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fs.ToErrno(err)
	}
	return fuse.ReadResultData(dest[:n]), 0
}

func (h *handle) Write(_ context.Context, data []byte, off int64) (uint32, syscall.Errno) {
	leave, errno := h.node.enter(true)
	if errno != 0 {
		return 0, errno
	}
	defer leave()
	info, err := h.file.live.Stat()
	if err != nil {
		return 0, fs.ToErrno(err)
	}
	end := off + int64(len(data))
	if !h.node.disk.faults.allocate(end - info.Size()) {
		return 0, syscall.ENOSPC
	}
	n, err := h.file.live.WriteAt(data, off)
	h.file.dirty.add(min(off, info.Size()), off+int64(n))
	h.node.disk.last = &write{h.file, off, append([]byte(nil), data[:n]...)}
	return uint32(n), fs.ToErrno(err)
}

func (h *handle) Fsync(context.Context, uint32) syscall.Errno {
	leave, errno := h.node.enter(true)
	if errno != 0 {
		return errno
	}
	defer leave()
	return fs.ToErrno(h.node.disk.sync(h.file))
}

// Flush is what a close comes with. It makes nothing durable.
func (h *handle) Flush(context.Context) syscall.Errno { return 0 }

// Release is the last close.
func (h *handle) Release(context.Context) syscall.Errno {
	d := h.node.disk
	d.mu.Lock()
	defer d.mu.Unlock()
	h.file.opened--
	d.forget(h.file)
	return 0
}

func (h *handle) Allocate(_ context.Context, off, size uint64, mode uint32) syscall.Errno {
	leave, errno := h.node.enter(true)
	if errno != 0 {
		return errno
	}
	defer leave()
	end := int64(off + size)
	switch mode {
	case 0:
		info, err := h.file.live.Stat()
		if err != nil {
			return fs.ToErrno(err)
		}
		if end <= info.Size() {
			return 0
		}
		return h.node.disk.resize(h.file, end)
	case unix.FALLOC_FL_KEEP_SIZE:
		return 0 // no room is kept for anybody
	}
	return syscall.EOPNOTSUPP
}

// resize changes a file's size. mu is held.
func (d *Disk) resize(f *file, size int64) syscall.Errno {
	info, err := f.live.Stat()
	if err != nil {
		return fs.ToErrno(err)
	}
	if !d.faults.allocate(size - info.Size()) {
		return syscall.ENOSPC
	}
	if size < info.Size() {
		d.faults.giveBack(info.Size() - size)
	}
	if err := f.live.Truncate(size); err != nil {
		return fs.ToErrno(err)
	}
	// What was cut off, or is new, reads as zeros: also if the file grows again before the next sync.
	f.dirty.add(min(size, info.Size()), max(size, info.Size()))
	return 0
}
