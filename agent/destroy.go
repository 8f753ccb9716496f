package agent

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/ctlplane/ctlplane/agent/mountpoint"
	"github.com/ctlplane/ctlplane/agent/volume"
)

// Destroyer is a runtime that can remove everything that it made.
type Destroyer interface {
	// Destroy kills all containers and removes all sandboxes.
	Destroy(ctx context.Context) error
}

// Destroy ends everything that the node runs and removes what it made on the machine, but for images. It is for an
// agent that is not running; the runtime can't be used afterwards.
func (a *Agent) Destroy(ctx context.Context) error {
	var err error
	if runtime, ok := a.cfg.Runtime.(Destroyer); ok {
		err = runtime.Destroy(ctx)
	} else {
		err = a.removeSandboxes(ctx)
	}
	return errors.Join(err, CleanDir(a.cfg.DataDir))
}

func (a *Agent) removeSandboxes(ctx context.Context) error {
	sandboxes, err := a.cfg.Runtime.ListPodSandbox(ctx, nil)
	failed := []error{err}
	for _, s := range sandboxes {
		failed = append(failed, a.cfg.Runtime.RemovePodSandbox(ctx, s.GetId()))
	}
	return errors.Join(failed...)
}

// CleanDir removes the pods' volumes, logs and cgroups of an agent, with what is mounted below its data directory.
// No container of the agent may run.
func CleanDir(dataDir string) error {
	dir, err := filepath.EvalSymlinks(dataDir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return errors.Join(
		volume.Teardown(filepath.Join(dir, "pods")), mountpoint.RemoveAll(filepath.Join(dir, "logs")), removeCgroups(CgroupRoot(dir)))
}

// removeCgroups removes a cgroup without processes and all below it from every hierarchy, of either version.
func removeCgroups(name string) error {
	roots, err := filepath.Glob("/sys/fs/cgroup/*/" + name)
	if err != nil {
		return err
	}
	var failed []error
	for _, root := range append(roots, "/sys/fs/cgroup/"+name) {
		var dirs []string
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && entry.IsDir() {
				dirs = append(dirs, path)
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = append(failed, err)
		}
		for _, dir := range slices.Backward(dirs) { // the innermost first
			if err := syscall.Rmdir(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
				failed = append(failed, fmt.Errorf("remove cgroup %s: %w", dir, err))
			}
		}
	}
	return errors.Join(failed...)
}
