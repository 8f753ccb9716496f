package machine

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/moby/sys/mountinfo"

	"github.com/ctlplane/ctlplane/agent"
)

// ErrNoNode says that no node's data is in a directory.
var ErrNoNode = errors.New("no node's data is here")

// Leave takes everything that a node made off the machine, in this thread's network namespace: containers, mounts, cgroups, pod
// network, the services' rules, images and data. The enrolment, and what a master keeps in the same directory, stay.
//
//  1. It refuses to while the node's agent runs.
//  2. It may be called again when it has failed.
//  3. It removes nothing that is mounted: a mount that it can't take away is an error.
func Leave(ctx context.Context, dataDir string, log *slog.Logger) error {
	if found, err := holdsNode(dataDir); err != nil || !found {
		return cmp.Or(err, ErrNoNode)
	}
	release, err := agent.Lock(agentDir(dataDir))
	if err != nil {
		return err
	}
	defer release()
	if err := Destroy(ctx, dataDir, log); err != nil {
		return err
	}
	for _, dir := range []string{runtimeDir(dataDir), networkDir(dataDir), agentDir(dataDir)} {
		if err := removeUnmounted(dir); err != nil {
			return err
		}
	}
	return nil
}

// holdsNode tells whether a node has, or had, its data in a directory.
func holdsNode(dataDir string) (bool, error) {
	found := false
	for _, dir := range []string{agentDir(dataDir), runtimeDir(dataDir), networkDir(dataDir)} {
		if _, err := os.Stat(dir); err == nil {
			found = true
		} else if !errors.Is(err, fs.ErrNotExist) {
			return false, err
		}
	}
	return found, nil
}

// removeUnmounted removes a directory with all that is in it, if nothing is mounted there.
func removeUnmounted(dir string) error {
	real, err := filepath.EvalSymlinks(dir) // mounts are listed by it
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	mounts, err := mountinfo.GetMounts(mountinfo.PrefixFilter(real))
	if err != nil {
		return err
	}
	if len(mounts) > 0 {
		return fmt.Errorf("%s is still mounted: unmount it first, so that nothing of what is in it is removed", mounts[0].Mountpoint)
	}
	return os.RemoveAll(dir)
}
