package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// SubPath shows a path within a volume at target, a name outside of it, and returns target. A container can
// write to the volume and put links there: the path is followed inside the volume only, and what was
// found is what is mounted. Mounts within it come and go with those of the volume as the propagation says.
func SubPath(volume, path, target string, propagation corev1.MountPropagationMode) (string, error) {
	if !filepath.IsLocal(path) {
		return "", fmt.Errorf("subPath %q leads out of the volume", path)
	}
	if mounted, err := mountinfo.Mounted(target); err == nil && mounted {
		return target, nil
	}
	root, err := os.OpenRoot(volume)
	if err != nil {
		return "", err
	}
	defer root.Close()
	if _, err := root.Stat(path); errors.Is(err, fs.ErrNotExist) {
		if err := root.MkdirAll(path, 0o755); err != nil {
			return "", fmt.Errorf("subPath %q: %w", path, err)
		}
	}
	source, err := root.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return "", fmt.Errorf("subPath %q: %w", path, err)
	}
	defer source.Close()
	info, err := source.Stat()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(target), 0o750); err != nil {
		return "", err
	}
	if info.IsDir() {
		err = os.MkdirAll(target, 0o750)
	} else {
		err = makeFile(target)
	}
	if err != nil {
		return "", err
	}
	if err := unix.Mount(fmt.Sprintf("/proc/self/fd/%d", source.Fd()), target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return "", fmt.Errorf("subPath %q: mount it: %w", path, err)
	}
	return target, propagate(target, propagation)
}

// propagate sets whether what is mounted in a copy of a mount shows in the original, and the other way round. A new
// copy is as the original is: what is unmounted in the one is unmounted in the other.
func propagate(target string, mode corev1.MountPropagationMode) error {
	flag := uintptr(unix.MS_PRIVATE)
	switch mode {
	case corev1.MountPropagationBidirectional:
		return nil
	case corev1.MountPropagationHostToContainer:
		flag = unix.MS_SLAVE
	}
	err := unix.Mount("", target, "", flag|unix.MS_REC, "")
	if err == nil {
		return nil
	}
	return errors.Join(fmt.Errorf("keep the mounts of %s apart from those of its volume: %w", target, err), unix.Unmount(target, unix.MNT_DETACH))
}
