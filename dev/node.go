package dev

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"

	"github.com/ctlplane/ctlplane/agent/machine"
)

// destroyNode takes away what a node left that no longer runs: containers, mounts, cgroups and its pod
// network, in the namespace that it ran in.
func destroyNode(dataDir, namespace string) error {
	failed := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread() // back home by then
		err := inNamespace(namespace, func() error {
			return machine.Destroy(context.Background(), dataDir, slog.New(slog.DiscardHandler))
		})
		if _, missing := os.Stat(filepath.Join("/run/netns", namespace)); errors.Is(missing, os.ErrNotExist) {
			err = nil
		}
		failed <- err
	}()
	return <-failed
}
