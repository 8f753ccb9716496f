package files

import (
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"sync"
)

// followed is what was read from files, which is read again once one of them has changed. Files that can't be
// read, or that are being replaced at this moment, leave in use what was read last. Safe for concurrent use.
type followed[T any] struct {
	paths  []string
	read   func() (T, error)
	logger *slog.Logger

	mu    sync.Mutex
	value T
	seen  []fs.FileInfo // what value, or the last attempt at a new one, was read from
}

// follow reads the files for the first time: an error then is the caller's.
func follow[T any](logger *slog.Logger, read func() (T, error), paths ...string) (*followed[T], error) {
	f := &followed[T]{paths: paths, read: read, logger: logger}
	var err error
	if f.seen, err = f.look(); err != nil {
		return nil, err
	}
	if f.value, err = read(); err != nil {
		return nil, err
	}
	return f, nil
}

// get is what the files hold now.
func (f *followed[T]) get() T {
	f.mu.Lock()
	defer f.mu.Unlock()
	now, err := f.look()
	if err == nil && same(f.seen, now) {
		return f.value
	}
	if err != nil && f.seen == nil {
		return f.value // it was complained of already
	}
	// The files are looked at before they are read: what changes in between is found by the next look.
	f.seen = now
	var value T
	if err == nil {
		value, err = f.read()
	}
	if err != nil {
		f.logger.Warn("a changed file can't be used: what was read from it before stays in use", "error", err)
		return f.value
	}
	f.logger.Info("files have changed and were read again", "files", f.paths)
	f.value = value
	return f.value
}

// look answers nil together with an error.
func (f *followed[T]) look() ([]fs.FileInfo, error) {
	infos := make([]fs.FileInfo, len(f.paths))
	for i, path := range f.paths {
		info, err := os.Stat(path)
		if err != nil {
			return nil, explain(path, err)
		}
		infos[i] = info
	}
	return infos, nil
}

func same(a, b []fs.FileInfo) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !os.SameFile(a[i], b[i]) || !a[i].ModTime().Equal(b[i].ModTime()) || a[i].Size() != b[i].Size() {
			return false
		}
	}
	return true
}

// explain says what a file that can't be read means for who named it.
func explain(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &fileError{path, "does not exist", err}
	case errors.Is(err, fs.ErrPermission):
		return &fileError{path, "may not be read by this user: change its owner or mode", err}
	}
	return err
}

type fileError struct {
	path, what string
	cause      error
}

func (e *fileError) Error() string { return e.path + " " + e.what }
func (e *fileError) Unwrap() error { return e.cause }
