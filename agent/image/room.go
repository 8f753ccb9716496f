package image

import (
	"errors"
	"fmt"
	"io"
	"math"

	"github.com/dustin/go-humanize"
	"golang.org/x/sys/unix"
)

// ErrNoRoom says that the file system of the images has too little room for one more.
var ErrNoRoom = errors.New("there is no room for the image")

const (
	// reservedShare of the file system is kept from images: a full disk takes down all that the node runs.
	reservedShare = 20 // one in so many
	// largestReserve bounds what is kept of a large file system.
	largestReserve = 8 << 30
	// lookEach is how much is written between two looks at the disk, on which others write too.
	lookEach = 16 << 20
	// lookEachFiles is how many files are made between two looks.
	lookEachFiles = 1024
)

// room bounds what is written by what the file system has free, beside a reserve. It is asked before each write.
type room struct {
	path string
	// bytes and files may be written until the next look.
	bytes, files int64
}

// take asks for room for more bytes and files.
func (r *room) take(bytes, files int64) error {
	if r.bytes -= bytes; r.bytes >= 0 {
		if r.files -= files; r.files >= 0 {
			return nil
		}
	}
	free, err := freeRoom(r.path)
	if err != nil {
		return err
	}
	if free.bytes < bytes {
		return fmt.Errorf("%w: the file system of %s keeps its last %s free: remove images or pods that are not needed, or give it a larger disk",
			ErrNoRoom, r.path, humanize.IBytes(uint64(free.reserved)))
	}
	if free.files < files {
		return fmt.Errorf("%w: the file system of %s keeps its last %d inodes free: remove images or pods that are not needed, or give it more inodes",
			ErrNoRoom, r.path, free.reservedFiles)
	}
	r.bytes, r.files = min(free.bytes-bytes, lookEach), min(free.files-files, lookEachFiles)
	return nil
}

// writer passes on what there is room for.
func (r *room) writer(to io.Writer) io.Writer { return roomWriter{r, to} }

type roomWriter struct {
	room *room
	to   io.Writer
}

func (w roomWriter) Write(p []byte) (int, error) {
	if err := w.room.take(int64(len(p)), 0); err != nil {
		return 0, err
	}
	return w.to.Write(p)
}

// free is what may be written to a file system, and what is kept of it.
type free struct{ bytes, files, reserved, reservedFiles int64 }

func freeRoom(path string) (free, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(path, &stat); err != nil {
		return free{}, fmt.Errorf("room on the file system of %s: %w", path, err)
	}
	f := free{
		reserved:      min(int64(stat.Blocks)*stat.Bsize/reservedShare, largestReserve),
		reservedFiles: int64(stat.Files) / reservedShare,
	}
	f.bytes = int64(stat.Bavail)*stat.Bsize - f.reserved
	f.files = int64(stat.Ffree) - f.reservedFiles
	if stat.Files == 0 { // a file system that makes inodes as it needs them
		f.files = math.MaxInt64
	}
	return f, nil
}
