package disk

import (
	"errors"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"
)

// reserve is a file that only takes space, to be given up when the disk is full: what a member has to write
// to get out of that then has room.
type reserve struct {
	path string
	size int64

	mu      sync.Mutex
	claimed bool
}

func reservePath(dataDir string) string { return filepath.Join(dataDir, "reserve") }

func (r *reserve) held() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.claimed
}

// adopt takes over what the process before has claimed. If a release with other limits has, that is given up.
func (r *reserve) adopt() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	info, err := os.Stat(r.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if r.claimed = info.Size() == r.size; r.claimed {
		return nil
	}
	return os.Remove(r.path)
}

// claim takes the space. On a file system that can't claim any there is no reserve.
func (r *reserve) claim() (err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.claimed {
		return nil
	}
	f, err := os.OpenFile(r.path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	err = allocate(f, 0, r.size)
	if err = errors.Join(err, f.Close()); err != nil {
		return errors.Join(err, os.Remove(r.path))
	}
	r.claimed = true
	return nil
}

// release gives the space up. It returns false if there was none.
func (r *reserve) release() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.claimed {
		return false
	}
	r.claimed = false
	return os.Remove(r.path) == nil
}

// allocate claims the blocks of a file's first bytes.
func allocate(f *os.File, mode uint32, size int64) error {
	for {
		err := unix.Fallocate(int(f.Fd()), mode, 0, size)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return &os.PathError{Op: "fallocate", Path: f.Name(), Err: err}
		}
		return nil
	}
}
