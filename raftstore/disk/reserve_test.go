package disk

import (
	"errors"
	"log/slog"
	"os"
	"testing"

	"k8s.io/utils/clock"
)

// TestReserveOutlivesTheProcess: a member that was started again on a disk that is short of room did not know of its reserve: the space
// was taken, and not given up when the disk was full.
func TestReserveOutlivesTheProcess(t *testing.T) {
	now := Space{Free: 100 << 20, Total: 100 << 20}
	options := Options{
		Dirs: []string{t.TempDir()}, Clock: clock.RealClock{}, Logger: slog.New(slog.DiscardHandler),
		Space: func(string) (Space, error) { return now, nil },
	}
	open := func() *Disk {
		d, err := New(t.Context(), options)
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	if !open().Reserved() {
		t.Skip("nothing can be reserved on this file system")
	}
	now.Free = 1 << 20
	d := open()
	if !d.Reserved() || !d.GiveUpReserve() {
		t.Error("the reserve of the process before was not given up")
	}
	path := reservePath(options.Dirs[0])
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it takes room still: %v", err)
	}
	// That of a release which kept back more is no reserve of this one.
	if err := os.WriteFile(path, make([]byte, d.Marks.reserve+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if open().Reserved() {
		t.Error("another release's reserve was taken over")
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it takes room for ever: %v", err)
	}
}
