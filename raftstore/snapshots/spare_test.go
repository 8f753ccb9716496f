package snapshots

import (
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/hashicorp/raft"
	"golang.org/x/sys/unix"

	"github.com/ctlplane/ctlplane/raftstore/disk"
)

// TestSnapshotOnAFullDisk: one failed for want of the few bytes that it takes, so that the log, which filled the disk, was never cut.
func TestSnapshotOnAFullDisk(t *testing.T) {
	mount := t.TempDir()
	if err := unix.Mount("tmpfs", mount, "tmpfs", 0, "size=1m,nr_inodes=64"); err != nil {
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
	if err := os.Mkdir(other, 0o700); err != nil {
		t.Fatal(err)
	}
	// Neither a byte nor a directory has room: a tmpfs counts them apart.
	if err := os.WriteFile(filepath.Join(other, "bytes"), make([]byte, 1<<20), 0o600); !disk.IsFull(err) {
		t.Fatal(err)
	}
	for i, err := 0, error(nil); err == nil; i++ {
		err = os.Mkdir(filepath.Join(other, strconv.Itoa(i)), 0o700)
	}

	// One whose state can't be written has to leave the spare to those after it, and so has one that another member sends.
	for _, received := range []bool{false, true} {
		sink, err := store.Create(1, 6, 1, raft.Configuration{}, 1, nil)
		if err != nil {
			t.Fatal(err)
		}
		if received {
			if _, err := sink.Write(make([]byte, 64<<10)); err == nil {
				t.Error("a state was received on a full disk")
			}
		}
		if err := sink.Cancel(); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(filepath.Join(mount, "snapshots", spareDir, spareFile)); err != nil {
			t.Fatalf("the spare is gone with a snapshot that came to nothing, received: %v: %v", received, err)
		}
	}
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
	if err := os.RemoveAll(other); err != nil {
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
