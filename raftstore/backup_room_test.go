package raftstore

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ctlplane/ctlplane/raftstore/disk"
)

// TestBackupLeavesRoom: a backup in etcd's format that would take the space which the member needs fails, before it
// begins if that is known by then; nothing is left of it, and values are taken all the time.
func TestBackupLeavesRoom(t *testing.T) {
	const total = 64 << 20
	high := disk.NewWatermarks(total).High
	var free, written atomic.Int64 // without what the backup has written, and the most of that
	free.Store(total)
	c := newTestCluster(t, 1, func(config *Config) {
		config.DiskSpace = func(string) (disk.Space, error) {
			files, err := filepath.Glob(filepath.Join(config.DataDir, "snapshots", "backup-*", "db"))
			size := int64(0)
			for _, file := range files {
				if info, err := os.Stat(file); err == nil { // else it is gone
					size += info.Size()
				}
			}
			written.Store(max(written.Load(), size))
			return disk.Space{Free: free.Load() - size, Total: total}, err
		}
	})
	m := c.leader()
	value := strings.Repeat("v", 256<<10)
	refused := func() {
		t.Helper()
		backup, err := m.Backup(testContext(t), BackupEtcd)
		if !errors.Is(err, disk.ErrNoRoom) {
			t.Fatalf("a backup without room: %v, %v", backup, err)
		}
		if left, err := filepath.Glob(filepath.Join(m.config.DataDir, "snapshots", "*.tmp")); err != nil || len(left) > 0 {
			t.Errorf("left behind: %v, %v", left, err)
		}
		m.put("after", "v")
	}

	for range 40 { // history, of which the number of living bytes tells nothing
		m.put("one", value)
	}
	free.Store(high + 4<<20)
	refused()
	if written.Load() > 4<<20 {
		t.Errorf("%d bytes were written, 4 MiB were free", written.Load())
	}

	for i := range 40 {
		m.put(fmt.Sprint("k", i), value)
	}
	written.Store(0)
	refused()
	if written.Load() > 0 {
		t.Errorf("%d bytes were written of a backup that could not fit", written.Load())
	}

	free.Store(total)
	m.save(BackupEtcd)
}
