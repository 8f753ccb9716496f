package snapshots

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	"golang.org/x/sys/unix"

	"github.com/ctlplane/ctlplane/raftstore/disk"
)

// TestSnapshotOnAFullDisk: one failed for want of the few bytes that it takes, so that the log, which filled the disk, was never cut.
func TestSnapshotOnAFullDisk(t *testing.T) {
	mount := t.TempDir()
	if err := unix.Mount("tmpfs", mount, "tmpfs", 0, "size=1m"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(mount, 0); err != nil {
			t.Error(err)
		}
	})
	store, err := Open(mount, Options{})
	if err != nil {
		t.Fatal(err)
	}
	take := func(index uint64) error {
		sink, err := store.Create(1, index, 1, raft.Configuration{}, 1, nil)
		if err != nil {
			return err
		}
		return sink.Close()
	}
	want := func(index uint64) {
		t.Helper()
		newest, err := store.Newest()
		if err != nil || newest == nil || newest.Index != index {
			t.Fatalf("the newest snapshot is %+v, %v; want index %d", newest, err, index)
		}
	}
	other := filepath.Join(mount, "of-somebody-else")
	f, err := os.Create(other)
	if err != nil {
		t.Fatal(err)
	}
	for err == nil {
		_, err = f.Write(make([]byte, 4<<10))
	}
	_ = f.Close()

	if err := take(7); err != nil {
		t.Fatal(err)
	}
	want(7)
	if store, err = Open(mount, Options{}); err != nil {
		t.Fatal(err)
	}
	want(7)
	if err := take(8); !disk.IsFull(err) { // nothing was cut in between
		t.Errorf("without a spare: %v", err)
	}
	want(7)
	if err := os.Remove(other); err != nil {
		t.Fatal(err)
	}
	if err := take(20); err != nil {
		t.Fatal(err)
	}
	want(20)
	if _, err := os.Stat(filepath.Join(mount, "snapshots", spareDir, spareFile)); err != nil {
		t.Error(err)
	}
}
