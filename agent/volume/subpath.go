package volume

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/moby/sys/mountinfo"
	"golang.org/x/sys/unix"
)

// SubPath shows a path within a volume at target, a name outside of it, and returns target. A container can
// write to the volume and put links there: the path is followed inside the volume only, and what was
// found is what is mounted.
func SubPath(volume, path, target string) (string, error) {
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
	return target, unix.Mount(fmt.Sprintf("/proc/self/fd/%d", source.Fd()), target, "", unix.MS_BIND|unix.MS_REC, "")
}
