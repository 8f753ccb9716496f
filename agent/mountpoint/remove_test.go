package mountpoint

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// tree makes a directory with a few files in it.
func tree(t *testing.T, dir string) string {
	t.Helper()
	for i := range 3 {
		sub := filepath.Join(dir, fmt.Sprint("sub", i))
		if err := os.MkdirAll(sub, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(sub, "data"), []byte("mine"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func intact(t *testing.T, dir string) {
	t.Helper()
	for i := range 3 {
		if content, err := os.ReadFile(filepath.Join(dir, fmt.Sprint("sub", i), "data")); err != nil || string(content) != "mine" {
			t.Errorf("data behind a mount is %q, %v", content, err)
		}
	}
}

func mount(t *testing.T, source, target string, flags uintptr) {
	t.Helper()
	if err := os.MkdirAll(target, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount(source, target, "", flags, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(target, unix.MNT_DETACH) })
}

func TestRemoveAllStopsAtAMount(t *testing.T) {
	data, dir := tree(t, t.TempDir()), tree(t, filepath.Join(t.TempDir(), "volumes"))
	mount(t, data, filepath.Join(dir, "sub1", "left"), unix.MS_BIND)
	file := filepath.Join(dir, "sub2", "data")
	if err := unix.Mount(filepath.Join(data, "sub0", "data"), file, "", unix.MS_BIND, ""); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(file, unix.MNT_DETACH) })
	// As though the mounts had not been listed.
	if err := remove(dir); err == nil {
		t.Error("the directory is removed with a mount in it")
	}
	intact(t, data)
	if err := unix.Unmount(file, unix.MNT_DETACH); err != nil {
		t.Fatal(err)
	}
	if err := remove(dir); err == nil || !strings.Contains(err.Error(), "left is a mount point") {
		t.Errorf("error %v", err)
	}
	intact(t, data)
}

// The mounts of a directory that is named through a link are found as well.
func TestRemoveAllDetachesFirst(t *testing.T) {
	data, real := tree(t, t.TempDir()), t.TempDir()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(real, link); err != nil {
		t.Fatal(err)
	}
	dir := tree(t, filepath.Join(link, "volumes"))
	mount(t, data, filepath.Join(dir, "sub1", "bind"), unix.MS_BIND)
	mount(t, data, filepath.Join(dir, "sub1", "bind"), unix.MS_BIND) // one upon the other
	if err := os.Symlink(data, filepath.Join(dir, "elsewhere")); err != nil {
		t.Fatal(err)
	}
	if err := RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	intact(t, data)
	if left, err := os.ReadDir(real); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
	if err := RemoveAll(dir); err != nil {
		t.Errorf("removed again: %v", err)
	}
	if err := RemoveAll(filepath.Join(dir, "never", "there")); err != nil {
		t.Errorf("what was never there: %v", err)
	}
}

// What is mounted in a bind mount's source stays there when the bind mount, which shares its mounts, goes.
func TestDetachLeavesTheSource(t *testing.T) {
	source, data, dir := t.TempDir(), tree(t, t.TempDir()), t.TempDir()
	mount(t, source, source, unix.MS_BIND)
	if err := unix.Mount("", source, "", unix.MS_SHARED, ""); err != nil {
		t.Fatal(err)
	}
	mount(t, data, filepath.Join(source, "inner"), unix.MS_BIND)
	mount(t, source, filepath.Join(dir, "copy"), unix.MS_BIND|unix.MS_REC)
	if err := RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	intact(t, filepath.Join(source, "inner"))
}
