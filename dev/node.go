package dev

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/ctlplane/ctlplane/agent/machine"
)

// destroyNode takes away what a node left that no longer runs: containers, mounts, cgroups and its pod
// network, in the namespace that it ran in. The network of a node whose namespace is gone went with that.
func destroyNode(dataDir, namespace string) error {
	failed := make(chan error)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread may end up in a namespace of its own
		destroy := func() error {
			return machine.Destroy(context.Background(), dataDir, slog.New(slog.DiscardHandler))
		}
		if _, err := os.Stat(filepath.Join(namespaces, namespace)); errors.Is(err, os.ErrNotExist) {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				failed <- err
				return
			}
			failed <- destroy()
			return
		}
		failed <- inNamespace(namespace, destroy)
	}()
	return <-failed
}

// namespaces is where the machine's named network namespaces are.
const namespaces = "/run/netns"
