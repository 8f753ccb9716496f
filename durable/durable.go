// Package durable makes files and directories that survive a crash of the machine.
//
// A file or directory whose name is not synced, in the directory that has it, is gone after a power loss with all that was synced
// in it. So nothing of a data directory is made or renamed but by what is here.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// fsync makes a directory durable; tests look on.
var fsync = (*os.File).Sync

// MakeDir makes a directory, and its parents that are missing, which only their owner may enter. Once it has returned they
// survive a power loss. One that is there may have been made by an earlier start that had no time to sync it: that is done
// now, unless its parent is somebody else's, who doesn't let us.
func MakeDir(dir string) error {
	if !missing(dir) {
		_ = SyncDir(filepath.Dir(dir))
		return os.MkdirAll(dir, 0o700) // says what is wrong if it is no directory
	}
	parents := []string{filepath.Dir(dir)}
	for parent := parents[0]; missing(parent); parents = append(parents, parent) {
		parent = filepath.Dir(parent)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	for _, parent := range parents {
		if err := SyncDir(parent); err != nil {
			return err
		}
	}
	return nil
}

func missing(path string) bool {
	_, err := os.Stat(path)
	return errors.Is(err, os.ErrNotExist)
}

// Rename gives a file or directory another name, durably. What is in it has to be durable before.
func Rename(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return err
	}
	if err := SyncDir(filepath.Dir(to)); err != nil || filepath.Dir(from) == filepath.Dir(to) {
		return err
	}
	return SyncDir(filepath.Dir(from))
}

// SyncDir makes the names in a directory durable.
func SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(fsync(d), d.Close())
}

// WriteFile is Replace with the directory made when it is missing.
func WriteFile(path string, content []byte) error {
	if err := MakeDir(filepath.Dir(path)); err != nil {
		return err
	}
	return Replace(path, content)
}

// Replace replaces a file, or makes one, with content that only its owner may read. A crash leaves the old file or the new one,
// never a part.
func Replace(path string, content []byte) error {
	// CreateTemp makes files of mode 0600.
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name()) // fails once renamed, as it should
	_, err = file.Write(content)
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	return Rename(file.Name(), path)
}

// SyncTree makes the names of all that is beneath a directory durable.
func SyncTree(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		return SyncDir(path)
	})
}
