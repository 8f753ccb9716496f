package wal

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	"golang.org/x/sys/unix"
)

// TestDiskFull fills a file system of 1 MiB: the entry that does not fit is refused, nothing is lost, and
// once there is room the log goes on.
func TestDiskFull(t *testing.T) {
	for name, segmentBytes := range map[string]int64{
		"a segment that does not fit":           256 << 10,
		"a batch longer than what is left":      990 << 10,
		"a batch of a new segment does not fit": 5_000,
	} {
		t.Run(name, func(t *testing.T) {
			mount := t.TempDir()
			must(t, unix.Mount("tmpfs", mount, "tmpfs", 0, "size=1m"))
			t.Cleanup(func() { must(t, unix.Unmount(mount, 0)) })
			dir := filepath.Join(mount, "log")
			l := mustOpen(t, dir, segmentBytes)

			var want []*raft.Log
			batch := func() []*raft.Log {
				var logs []*raft.Log
				for range 3 {
					index := uint64(len(want) + len(logs) + 1)
					logs = append(logs, &raft.Log{Index: index, Data: bytes.Repeat([]byte{byte(index)}, 33_000)})
				}
				return logs
			}
			var err error
			for err == nil {
				logs := batch()
				if err = l.StoreLogs(logs); err == nil {
					want = append(want, logs...)
				}
			}
			if !errors.Is(err, unix.ENOSPC) || len(want) < 9 {
				t.Fatalf("after %d entries: %v", len(want), err)
			}
			wantEntries(t, l, want)
			if err := l.StoreLogs(batch()); !errors.Is(err, unix.ENOSPC) {
				t.Fatal(err)
			}
			if files := segmentFiles(t, dir); len(files) != len(l.segments) {
				t.Fatalf("%d segments are in %v", len(l.segments), files)
			}
			must(t, l.Close())
			l = mustOpen(t, dir, segmentBytes)
			wantEntries(t, l, want)

			// There is room again.
			must(t, unix.Mount("tmpfs", mount, "tmpfs", unix.MS_REMOUNT, "size=4m"))
			logs := batch()
			must(t, l.StoreLogs(logs))
			want = append(want, logs...)
			wantEntries(t, l, want)
			must(t, l.Close())
			l = mustOpen(t, dir, segmentBytes)
			wantEntries(t, l, want)
			must(t, l.Close())
		})
	}
}
