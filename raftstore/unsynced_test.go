package raftstore

import (
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// syncCountingFS counts the syncs of files that are written.
type syncCountingFS struct {
	vfs.FS
	count *atomic.Int64
}

func (fs syncCountingFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := fs.FS.Create(name, category)
	return syncCountingFile{f, fs.count}, err
}

func (fs syncCountingFS) OpenDir(name string) (vfs.File, error) {
	f, err := fs.FS.OpenDir(name)
	return syncCountingFile{f, fs.count}, err
}

type syncCountingFile struct {
	vfs.File
	count *atomic.Int64
}

func (f syncCountingFile) Sync() error     { f.count.Add(1); return f.File.Sync() }
func (f syncCountingFile) SyncData() error { f.count.Add(1); return f.File.SyncData() }
func (f syncCountingFile) SyncTo(n int64) (bool, error) {
	f.count.Add(1)
	return f.File.SyncTo(n)
}

// TestUnsafeNoSync writes through log and state machine with syncs and without: they are made, or none is.
func TestUnsafeNoSync(t *testing.T) {
	for _, logStore := range []string{LogStoreWAL, LogStoreBoltDB} {
		for _, unsafe := range []bool{false, true} {
			var syncs atomic.Int64
			c := newTestCluster(t, 1, func(config *Config) {
				config.UnsafeNoSync, config.LogStore = unsafe, logStore
				config.Store.FS = syncCountingFS{vfs.Default, &syncs}
			})
			m := c.leader()
			m.put("key", "value")
			if err := m.machine.Store().OnDisk(); err != nil {
				t.Fatal(err)
			}
			var metric dto.Metric
			if err := m.instruments.walSync.(prometheus.Metric).Write(&metric); err != nil {
				t.Fatal(err)
			}
			logged := metric.GetHistogram().GetSampleCount()
			if unsafe != (syncs.Load() == 0) || logStore == LogStoreWAL && unsafe != (logged == 0) {
				t.Errorf("%s, without syncs %v: %d of the state machine's and %d of the log", logStore, unsafe, syncs.Load(), logged)
			}
			m.stop()
			m.start()
			m.wantValue("key", "value")
			c.close()
		}
	}
}
