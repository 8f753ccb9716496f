package dev

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// A node whose network namespace is gone is taken away as any other: nothing stays mounted below its directory, and
// what was mounted there is not removed.
func TestNodeWithoutItsNamespaceIsTakenAway(t *testing.T) {
	data, dir := t.TempDir(), t.TempDir()
	if err := os.WriteFile(filepath.Join(data, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	volume := filepath.Join(dir, "agent/pods/uid/volumes/v")
	if err := os.MkdirAll(volume, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(data, volume, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(volume, unix.MNT_DETACH) })
	if err := destroyNode(dir, "ctldev-not-there"); err != nil {
		t.Fatal(err)
	}
	if err := clean(dir); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(data, "precious")); err != nil {
		t.Error("what was mounted in the node's directory is gone:", err)
	}
	mounts, err := os.ReadFile("/proc/self/mounts")
	if err != nil || strings.Contains(string(mounts), dir) {
		t.Errorf("something is still mounted in %s, %v", dir, err)
	}
}
