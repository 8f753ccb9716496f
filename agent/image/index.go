package image

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/ctlplane/ctlplane/agent/record"
)

// fileVersion tells whether a file that is always replaced as a whole is still the one that was read.
type fileVersion struct {
	inode uint64
	mtime syscall.Timespec
}

func versionOf(path string) (fileVersion, error) {
	var stat syscall.Stat_t
	err := syscall.Stat(path, &stat)
	return fileVersion{stat.Ino, stat.Mtim}, err
}

// refresh reads the index again when another process has changed it; the caller holds the mutex.
func (s *Store) refresh() error {
	current, err := versionOf(s.index())
	if errors.Is(err, fs.ErrNotExist) {
		s.images, s.read = map[string]*Image{}, fileVersion{}
		return nil
	}
	if err != nil || current == s.read {
		return err
	}
	images := map[string]*Image{}
	if err := record.Read(s.index(), &images); err != nil {
		return err
	}
	s.images, s.read = images, current
	return nil
}

// change alters the index by f, alone among all processes.
func (s *Store) change(f func() error) error {
	held, err := s.lock("index.lock", syscall.LOCK_EX)
	if err != nil {
		return err
	}
	defer held.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.refresh(); err != nil {
		return err
	}
	if err := f(); err != nil {
		s.read = fileVersion{} // what f did is not to stay: read again
		return err
	}
	if err := record.Write(s.index(), s.images); err != nil {
		s.read = fileVersion{}
		return err
	}
	s.read, err = versionOf(s.index())
	return err
}

// lock takes a lock that holds among processes, until the file that it returns is closed.
func (s *Store) lock(name string, how int) (*os.File, error) {
	file, err := os.OpenFile(filepath.Join(s.dir, name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for {
		err = syscall.Flock(int(file.Fd()), how)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if err != nil {
		file.Close()
		return nil, err
	}
	return file, nil
}
