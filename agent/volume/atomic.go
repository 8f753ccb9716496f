package volume

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const (
	// dataLink leads to the directory of the current content; a file of the volume is a link through it.
	dataLink    = "..data"
	nextLink    = "..data_next"
	contentName = "..content-"
)

// writeAtomically makes files the content of the volume at dir. All of it changes in one step, by replacing
// the link that every file of the volume leads through. Nothing is synced to the disk: no container outlives a power
// loss, and the next one starts after its volumes were held against their objects, byte by byte, and written again.
func writeAtomically(dir string, files map[string]file, group *int64) error {
	current, err := os.Readlink(filepath.Join(dir, dataLink))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if current != "" && same(filepath.Join(dir, current), files) {
		return nil
	}
	next, err := writeContent(dir, files, group)
	if err != nil {
		return err
	}
	if err := os.Remove(filepath.Join(dir, nextLink)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Symlink(next, filepath.Join(dir, nextLink)); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(dir, nextLink), filepath.Join(dir, dataLink)); err != nil {
		return err
	}
	return tidy(dir, next, files)
}

func writeContent(dir string, files map[string]file, group *int64) (name string, err error) {
	path, err := os.MkdirTemp(dir, contentName)
	if err != nil {
		return "", err
	}
	if err := os.Chmod(path, 0o755); err != nil {
		return "", err
	}
	for name, f := range files {
		target := filepath.Join(path, name)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			return "", err
		}
		if err := os.WriteFile(target, f.content, 0o600); err != nil {
			return "", err
		}
		mode := fs.FileMode(f.mode)
		if group != nil {
			if err := os.Lchown(target, -1, int(*group)); err != nil {
				return "", err
			}
			mode |= 0o040 | mode&0o400>>3
		}
		if err := os.Chmod(target, mode); err != nil {
			return "", err
		}
	}
	return filepath.Base(path), nil
}

// same says whether the content at dir is files already.
func same(dir string, files map[string]file) bool {
	found := 0
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if want, ok := files[name]; !ok || !bytes.Equal(want.content, content) {
			return fs.SkipAll
		}
		found++
		return nil
	})
	return err == nil && found == len(files) && countFiles(dir) == found
}

func countFiles(dir string) int {
	count := 0
	_ = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			count++
		}
		return err
	})
	return count
}

// tidy links the names that the volume shows to the current content, and removes old names and old content.
func tidy(dir, current string, files map[string]file) error {
	var names []string // what is seen at the volume's top
	for path := range files {
		top, _, _ := strings.Cut(path, string(filepath.Separator))
		if !slices.Contains(names, top) {
			names = append(names, top)
		}
	}
	for _, name := range names {
		err := os.Symlink(filepath.Join(dataLink, name), filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		name := entry.Name()
		if name == dataLink || name == current || slices.Contains(names, name) {
			continue
		}
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}
