package disk

import (
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// mounted mounts a disk for a test.
func mounted(t *testing.T) (*Disk, string) {
	t.Helper()
	dir := t.TempDir()
	at := filepath.Join(dir, "disk")
	d, err := Mount(filepath.Join(dir, "below"), at)
	if err != nil {
		t.Fatal(err) // it takes root
	}
	t.Cleanup(func() {
		if err := d.Unmount(); err != nil {
			t.Error(err)
		}
	})
	return d, at
}

func put(t *testing.T, path, text string, sync bool) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if sync {
		if err := f.Sync(); err != nil {
			t.Fatal(err)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return "nothing"
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func powerLoss(t *testing.T, d *Disk, sectors int) {
	t.Helper()
	d.Cut()
	if err := d.Restore(func(n int) int { return min(n, sectors) }); err != nil {
		t.Fatal(err)
	}
}

// TestChildrenDoNotHoldTheDisk: a member that was left over when its test was killed held the mount that it waited for, so that neither
// ended, and the next run hung.
func TestChildrenDoNotHoldTheDisk(t *testing.T) {
	mounted(t)
	open, err := exec.CommandContext(t.Context(), "ls", "-l", "/proc/self/fd").Output()
	if err != nil || strings.Contains(string(open), "/dev/fuse") {
		t.Errorf("a child has open:\n%s%v", open, err)
	}
}

func TestPowerCutLosesWhatWasNotSynced(t *testing.T) {
	d, at := mounted(t)
	a, b, c := filepath.Join(at, "a"), filepath.Join(at, "b"), filepath.Join(at, "c")
	put(t, a, "first", true)
	put(t, b, "before", true)
	put(t, a, "second, longer", false)
	put(t, c, "never synced", false)
	if err := os.Rename(b, filepath.Join(at, "renamed")); err != nil {
		t.Fatal(err)
	}
	if got := read(t, a); got != "second, longer" {
		t.Errorf("before the cut: %q", got)
	}
	powerLoss(t, d, 0)
	for path, want := range map[string]string{a: "first", b: "before", c: "nothing", filepath.Join(at, "renamed"): "nothing"} {
		if got := read(t, path); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

func TestSyncMakesNamesDurable(t *testing.T) {
	d, at := mounted(t)
	inner := filepath.Join(at, "inner")
	if err := os.Mkdir(inner, 0o700); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(inner, "a"), "text", true)
	if err := os.Link(filepath.Join(inner, "a"), filepath.Join(inner, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(inner, filepath.Join(at, "outer")); err != nil {
		t.Fatal(err)
	}
	directory, err := os.Open(at)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(directory.Sync(), directory.Close()); err != nil {
		t.Fatal(err)
	}
	powerLoss(t, d, 0)
	for _, name := range []string{"a", "link"} {
		if got := read(t, filepath.Join(at, "outer", name)); got != "text" {
			t.Errorf("%s: %q", name, got)
		}
	}
	if err := os.RemoveAll(filepath.Join(at, "outer")); err != nil {
		t.Error(err)
	}
}

func TestLastWriteIsTorn(t *testing.T) {
	d, at := mounted(t)
	path := filepath.Join(at, "log")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	var written error
	if err := errors.Join(f.Truncate(8192), f.Sync()); err != nil {
		t.Fatal(err)
	}
	if _, written = f.WriteAt(bytes.Repeat([]byte{1}, 2048), 1024); errors.Join(written, f.Close()) != nil {
		t.Fatal(written)
	}
	powerLoss(t, d, 1)
	want := make([]byte, 8192)
	copy(want[1024:], bytes.Repeat([]byte{1}, sector))
	if got := read(t, path); got != string(want) {
		t.Errorf("%d bytes of %d are there, want %d", bytes.Count([]byte(got), []byte{1}), len(got), sector)
	}
}

func TestMappedFileShowsWhatIsWritten(t *testing.T) {
	_, at := mounted(t)
	f, err := os.Create(filepath.Join(at, "mapped"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(4096); err != nil {
		t.Fatal(err)
	}
	view, err := unix.Mmap(int(f.Fd()), 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Munmap(view)
	// The kernel reads the view, inside of a call. A page that this process touched itself would be asked of this very process,
	// which may have stopped everything for a collection of garbage until the goroutine that touches it gets on.
	seen, show, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer seen.Close()
	defer show.Close()
	for _, text := range []string{"one", "two"} {
		if _, err := f.WriteAt([]byte(text), 100); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 3)
		if _, err := show.Write(view[100:103]); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(seen, got); err != nil || string(got) != text {
			t.Errorf("the view has %q after %q was written: %v", got, text, err)
		}
	}
}

func TestDiskHangsFailsAndIsFull(t *testing.T) {
	d, at := mounted(t)
	path := filepath.Join(at, "a")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	d.Fail()
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Errorf("sync of a disk that fails: %v", err)
	}
	d.Full()
	if _, err := f.Write(make([]byte, 100)); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("write to a full disk: %v", err)
	}
	d.Hang()
	done := make(chan error, 1)
	go func() { done <- f.Sync() }()
	select {
	case err := <-done:
		t.Errorf("sync of a disk that hangs: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	d.Heal()
	if err := <-done; err != nil {
		t.Errorf("sync of a disk that is well again: %v", err)
	}
	d.Cut()
	if _, err := f.Write(make([]byte, 100)); !errors.Is(err, syscall.EIO) {
		t.Errorf("write after the power was cut: %v", err)
	}
}

func TestExtents(t *testing.T) {
	var e extents
	for _, x := range []extent{{10, 20}, {30, 40}, {5, 5}, {20, 25}, {50, 60}, {24, 31}, {0, 1}} {
		e.add(x.from, x.to)
	}
	want := extents{{0, 1}, {10, 40}, {50, 60}}
	if len(e) != len(want) {
		t.Fatalf("%v, want %v", e, want)
	}
	for i := range e {
		if e[i] != want[i] {
			t.Errorf("%v, want %v", e, want)
		}
	}
}
