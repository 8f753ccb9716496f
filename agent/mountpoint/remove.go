// Package mountpoint takes away directories in which file systems may be mounted: what is mounted is let go, and never
// removed.
package mountpoint

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// Detach takes away all mounts at and below dir, the innermost first. What is mounted elsewhere as well, as a bind
// mount's source is, stays mounted there.
func Detach(dir string) error {
	dir, err := resolveParent(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	list, err := mountinfo.GetMounts(mountinfo.PrefixFilter(dir))
	if err != nil {
		return err
	}
	// The kernel takes a mount away from all copies of the mount that it is on: end that first.
	for _, m := range list {
		if err := unix.Mount("", m.Mountpoint, "", unix.MS_PRIVATE, ""); err != nil && !gone(err) {
			return fmt.Errorf("make the mount at %s private: %w", m.Mountpoint, err)
		}
	}
	for i := len(list) - 1; i >= 0; i-- {
		if err := unix.Unmount(list[i].Mountpoint, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW); err != nil && !gone(err) {
			return fmt.Errorf("unmount %s: %w", list[i].Mountpoint, err)
		}
	}
	if list, err = mountinfo.GetMounts(mountinfo.PrefixFilter(dir)); err == nil && len(list) > 0 {
		err = fmt.Errorf("%s is still mounted: unmount it", list[0].Mountpoint)
	}
	return err
}

// gone says of a system call's failure that there was no mount.
func gone(err error) bool { return errors.Is(err, unix.EINVAL) || errors.Is(err, fs.ErrNotExist) }

// resolveParent is dir by the name that the kernel lists mounts by: without links on the way to it.
func resolveParent(dir string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	parent, err := filepath.EvalSymlinks(filepath.Dir(dir))
	return filepath.Join(parent, filepath.Base(dir)), err
}

// RemoveAll removes dir with all that is in it, once everything that is mounted there has been detached. It stops
// at a mount that is still there: what is behind one is not dir's. A dir that is not there is no error.
func RemoveAll(dir string) error {
	if err := Detach(dir); err != nil {
		return err
	}
	dir, err := resolveParent(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return remove(dir)
}

// remove removes dir, and stops at a mount.
func remove(dir string) error {
	parent, err := unix.Open(filepath.Dir(dir), unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: filepath.Dir(dir), Err: err}
	}
	defer unix.Close(parent)
	return removeAt(parent, filepath.Base(dir), dir)
}

// removeAt removes the entry name of an open directory; path is what people call it.
func removeAt(parent int, name, path string) error {
	err := unix.Unlinkat(parent, name, 0)
	if err == nil || errors.Is(err, unix.ENOENT) {
		return nil
	}
	if !errors.Is(err, unix.EISDIR) && !errors.Is(err, unix.EPERM) {
		return &fs.PathError{Op: "remove", Path: path, Err: err}
	}
	dir, opened := openDir(parent, name, path)
	if opened != nil {
		if errors.Is(opened, unix.ENOTDIR) { // a file that can't be removed
			return &fs.PathError{Op: "remove", Path: path, Err: err}
		}
		return opened
	}
	defer dir.Close()
	if err := empty(dir, path); err != nil {
		return err
	}
	if err := unix.Unlinkat(parent, name, unix.AT_REMOVEDIR); err != nil && !errors.Is(err, unix.ENOENT) {
		return &fs.PathError{Op: "remove", Path: path, Err: err}
	}
	return nil
}

// empty removes all entries of a directory. Removal moves the others about in some file systems, so the directory
// is read until there is nothing.
func empty(dir *os.File, path string) error {
	for {
		count := 0
		for {
			names, err := dir.Readdirnames(1024)
			for _, name := range names {
				if err := removeAt(int(dir.Fd()), name, filepath.Join(path, name)); err != nil {
					return err
				}
			}
			count += len(names)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
		}
		if count == 0 {
			return nil
		}
		if _, err := dir.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
}

// openDir opens a directory that is no mount point and no link.
func openDir(parent int, name, path string) (*os.File, error) {
	const flags = unix.O_RDONLY | unix.O_DIRECTORY | unix.O_NOFOLLOW | unix.O_CLOEXEC
	fd, err := unix.Openat2(parent, name, &unix.OpenHow{Flags: flags, Resolve: unix.RESOLVE_NO_XDEV | unix.RESOLVE_NO_SYMLINKS | unix.RESOLVE_BENEATH})
	if errors.Is(err, unix.ENOSYS) { // before Linux 5.6: Detach has looked for mounts, and another file system shows
		fd, err = openSameDevice(parent, name, flags)
	}
	if errors.Is(err, unix.EXDEV) {
		return nil, fmt.Errorf("%s is a mount point: unmount it, its content is not removed", path)
	}
	if err != nil {
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return os.NewFile(uintptr(fd), path), nil
}

func openSameDevice(parent int, name string, flags int) (int, error) {
	var outer, inner unix.Stat_t
	if err := unix.Fstat(parent, &outer); err != nil {
		return 0, err
	}
	fd, err := unix.Openat(parent, name, flags, 0)
	if err != nil {
		return 0, err
	}
	if err = unix.Fstat(fd, &inner); err == nil && inner.Dev != outer.Dev {
		err = unix.EXDEV
	}
	if err != nil {
		unix.Close(fd)
		return 0, err
	}
	return fd, nil
}
