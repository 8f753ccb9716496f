package embedded

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/ctlplane/ctlplane/agent/embedded/shim"
	"github.com/ctlplane/ctlplane/agent/image"
	"github.com/ctlplane/ctlplane/agent/record"
)

// prepare makes a container's directory: root file system, description, orders for the shim.
func (r *Runtime) prepare(c *container, s *sandbox, img image.Image) error {
	if err := os.MkdirAll(c.dir.RootFS(), 0o755); err != nil {
		return err
	}
	if err := c.save(); err != nil {
		return err
	}
	if err := mountRoot(c.dir, r.images.LayerPaths(img), r); err != nil {
		return fmt.Errorf("root file system: %w", err)
	}
	spec, err := r.specification(c, s, img)
	if err != nil {
		return err
	}
	if err := record.Write(c.dir.Spec(), spec); err != nil {
		return err
	}
	if c.logPath != "" {
		if err := os.MkdirAll(filepath.Dir(c.logPath), 0o755); err != nil {
			return err
		}
	}
	return c.dir.WriteTask(shim.Task{
		ID: c.id, CgroupPath: filepath.Join("/", s.config.GetLinux().GetCgroupParent(), c.id),
		LogPath: c.logPath, LogMaxBytes: r.cfg.LogMaxBytes, LogMaxFiles: r.cfg.LogMaxFiles,
	})
}

// mountRoot mounts an image's layers, lowest first, with a layer of the container's own on top. Where
// overlayfs can't be used they are copied.
func mountRoot(dir shim.Dir, layers []string, r *Runtime) error {
	err := mountOverlay(dir, layers)
	if err == nil {
		return nil
	}
	r.log.Warn("overlayfs can't be used, copying the image", "error", err)
	return image.Flatten(layers, dir.RootFS())
}

func mountOverlay(dir shim.Dir, layers []string) error {
	upper, work := filepath.Join(string(dir), "upper"), filepath.Join(string(dir), "work")
	empty := filepath.Join(string(dir), "empty")
	for _, path := range []string{upper, work, empty} {
		if err := os.MkdirAll(path, 0o755); err != nil {
			return err
		}
	}
	if len(layers) == 0 {
		layers = []string{empty} // overlayfs wants at least one
	}
	lower, release, err := lowerDirs(layers)
	if err != nil {
		return err
	}
	defer release()
	options := "lowerdir=" + lower + ",upperdir=" + upper + ",workdir=" + work
	return unix.Mount("overlay", dir.RootFS(), "overlay", 0, options)
}

// lowerDirs names layers for overlayfs, highest first. Mount options have to fit in one page, so each layer
// is named by an open descriptor, which is short whatever the layer's path.
func lowerDirs(layers []string) (option string, release func(), err error) {
	var open []*os.File
	release = func() {
		for _, file := range open {
			file.Close()
		}
	}
	var names []string
	seen := map[string]bool{}
	for _, path := range slices.Backward(layers) {
		if seen[path] { // a layer may be in an image twice, and not in an overlay: its highest place counts
			continue
		}
		seen[path] = true
		file, err := os.OpenFile(path, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			release()
			return "", nil, err
		}
		open = append(open, file)
		names = append(names, fmt.Sprintf("/proc/self/fd/%d", file.Fd()))
	}
	return strings.Join(names, ":"), release, nil
}
