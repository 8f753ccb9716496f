package image

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"
)

// Flatten copies unpacked layers, lowest first, over one another into target, as overlayfs would show
// them. It is for file systems that overlayfs can't work on.
func Flatten(layers []string, target string) error {
	root, err := os.OpenRoot(target)
	if err != nil {
		return err
	}
	defer root.Close()
	for _, layer := range layers {
		f := flattener{from: layer, to: root, links: map[uint64]string{}}
		if err := filepath.WalkDir(layer, f.visit); err != nil {
			return fmt.Errorf("copy layer %s: %w", layer, err)
		}
	}
	return nil
}

type flattener struct {
	from  string
	to    *os.Root
	links map[uint64]string // by inode: the name under which a file with several was copied first
}

func (f *flattener) visit(source string, entry fs.DirEntry, err error) error {
	if err != nil {
		return err
	}
	name, err := filepath.Rel(f.from, source)
	if err != nil || name == "." {
		return err
	}
	info, err := entry.Info()
	if err != nil {
		return err
	}
	stat := info.Sys().(*syscall.Stat_t)
	if info.Mode()&fs.ModeCharDevice != 0 && stat.Rdev == 0 {
		return f.to.RemoveAll(name)
	}
	if err := f.clear(name, source, info); err != nil {
		return err
	}
	if err := f.copy(name, source, info, stat); err != nil {
		return err
	}
	if err := f.to.Lchown(name, int(stat.Uid), int(stat.Gid)); err != nil || info.Mode()&fs.ModeSymlink != 0 {
		return err
	}
	return f.to.Chmod(name, info.Mode().Perm()|info.Mode()&(fs.ModeSetuid|fs.ModeSetgid|fs.ModeSticky))
}

// clear removes what lower layers have at name and this layer replaces.
func (f *flattener) clear(name, source string, info fs.FileInfo) error {
	old, err := f.to.Lstat(name)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.IsDir() && old.IsDir() && !opaque(source) {
		return nil
	}
	return f.to.RemoveAll(name)
}

func opaque(dir string) bool {
	value := make([]byte, 1)
	n, err := unix.Lgetxattr(dir, opaqueXattr, value)
	return err == nil && n == 1 && value[0] == 'y'
}

func (f *flattener) copy(name, source string, info fs.FileInfo, stat *syscall.Stat_t) error {
	switch mode := info.Mode(); {
	case mode.IsDir():
		return f.to.MkdirAll(name, 0o755)
	case mode&fs.ModeSymlink != 0:
		target, err := os.Readlink(source)
		if err != nil {
			return err
		}
		return f.to.Symlink(target, name)
	case !mode.IsRegular():
		parent, err := f.to.Open(path.Dir(name))
		if err != nil {
			return err
		}
		defer parent.Close()
		return unix.Mknodat(int(parent.Fd()), path.Base(name), stat.Mode, int(stat.Rdev))
	}
	if stat.Nlink > 1 {
		if first, ok := f.links[stat.Ino]; ok {
			return f.to.Link(first, name)
		}
		f.links[stat.Ino] = name
	}
	return f.copyFile(name, source)
}

func (f *flattener) copyFile(name, source string) error {
	in, err := os.Open(source)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := f.to.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
