package embedded

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/ctlplane/ctlplane/agent/mountpoint"
)

// nsfsMagic is what statfs says of a pinned namespace.
const nsfsMagic = 0x6e736673

// namespace is a kind of namespace that the containers of a pod share.
type namespace struct {
	name string
	flag int
}

var (
	netNamespace = namespace{"net", unix.CLONE_NEWNET}
	ipcNamespace = namespace{"ipc", unix.CLONE_NEWIPC}
	utsNamespace = namespace{"uts", unix.CLONE_NEWUTS}
)

// pin makes new namespaces and keeps each alive, with no process in it, by mounting it at its name in dir.
func pin(dir, hostname string, kinds []namespace) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		// The thread is in the new namespaces from here on: it stays locked, and ends with this goroutine.
		runtime.LockOSThread()
		done <- pinThread(dir, hostname, kinds)
	}()
	return <-done
}

func pinThread(dir, hostname string, kinds []namespace) error {
	flags := 0
	for _, kind := range kinds {
		flags |= kind.flag
	}
	if err := unix.Unshare(flags); err != nil {
		return fmt.Errorf("make the pod's namespaces: %w", err)
	}
	if flags&unix.CLONE_NEWUTS != 0 {
		if err := unix.Sethostname([]byte(hostname)); err != nil {
			return fmt.Errorf("set the pod's host name: %w", err)
		}
	}
	if flags&unix.CLONE_NEWNET != 0 {
		if err := loopbackUp(); err != nil {
			return fmt.Errorf("bring up the pod's loopback device: %w", err)
		}
	}
	for _, kind := range kinds {
		target := filepath.Join(dir, kind.name)
		if err := os.WriteFile(target, nil, 0o600); err != nil {
			return err
		}
		if err := unix.Mount("/proc/thread-self/ns/"+kind.name, target, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("pin the pod's %s namespace: %w", kind.name, err)
		}
	}
	return nil
}

func loopbackUp() error {
	link, err := netlink.LinkByName("lo")
	if err != nil {
		return err
	}
	return netlink.LinkSetUp(link)
}

// pinned says whether path still holds a namespace: after the machine has restarted it does not.
func pinned(path string) bool {
	var stat unix.Statfs_t
	return unix.Statfs(path, &stat) == nil && stat.Type == nsfsMagic
}

// unmount takes away what is mounted at path, if anything is.
func unmount(path string) error {
	err := unix.Unmount(path, unix.MNT_DETACH|unix.UMOUNT_NOFOLLOW)
	if errors.Is(err, unix.EINVAL) || errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("unmount %s: %w", path, err)
	}
	return nil
}

// unpin lets namespaces go, and removes dir.
func unpin(dir string) error {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if err := unmount(filepath.Join(dir, entry.Name())); err != nil {
			return err
		}
	}
	return mountpoint.RemoveAll(dir)
}
