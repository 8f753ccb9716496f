package wal

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	raftwal "github.com/hashicorp/raft-wal"
	"go.etcd.io/bbolt"
)

// diskDir is a directory on a disk, which /tmp need not be.
func diskDir(b *testing.B) string {
	dir, err := os.MkdirTemp("/var/tmp", "wal-bench")
	must(b, err)
	b.Cleanup(func() { must(b, os.RemoveAll(dir)) })
	return dir
}

// BenchmarkStoreLogs appends entries of 256 bytes, durably, to this log and to the two that there are.
func BenchmarkStoreLogs(b *testing.B) {
	stores := []struct {
		name string
		open func(dir string) (raft.LogStore, func() error, error)
	}{
		{"wal", func(dir string) (raft.LogStore, func() error, error) {
			l, err := Open(dir, Options{})
			return l, l.Close, err
		}},
		{"hashicorp-wal", func(dir string) (raft.LogStore, func() error, error) {
			l, err := raftwal.Open(dir, raftwal.WithLogger(hclog.NewNullLogger()))
			return l, l.Close, err
		}},
		{"boltdb", func(dir string) (raft.LogStore, func() error, error) {
			l, err := raftboltdb.New(raftboltdb.Options{
				Path:        filepath.Join(dir, "log.db"),
				BoltOptions: &bbolt.Options{NoFreelistSync: true, FreelistType: bbolt.FreelistMapType},
			})
			return l, l.Close, err
		}},
	}
	for _, count := range []int{1, 64} {
		for _, store := range stores {
			b.Run(fmt.Sprintf("entries=%d/store=%s", count, store.name), func(b *testing.B) {
				l, close, err := store.open(diskDir(b))
				must(b, err)
				defer func() { must(b, close()) }()
				batch := batchOf(count, 256)
				var next uint64
				b.SetBytes(int64(count * 256))
				b.ReportAllocs()
				for b.Loop() {
					for _, log := range batch {
						next++
						log.Index = next
					}
					must(b, l.StoreLogs(batch))
				}
			})
		}
	}
}

func batchOf(count, size int) []*raft.Log {
	var logs []*raft.Log
	for i := range count {
		logs = append(logs, &raft.Log{Term: 1, Data: bytes.Repeat([]byte{byte(i + 1)}, size)})
	}
	return logs
}

// BenchmarkOpen opens a log of 256 MiB, of entries of a kilobyte.
func BenchmarkOpen(b *testing.B) {
	dir := diskDir(b)
	l, err := openUnsynced(dir, DefaultSegmentBytes)
	must(b, err)
	var next uint64
	batch := batchOf(1024, 1<<10)
	for l.Sizes().Bytes < 256<<20 {
		for _, log := range batch {
			next++
			log.Index = next
		}
		must(b, l.StoreLogs(batch))
	}
	must(b, l.Close())
	b.SetBytes(256 << 20)
	for b.Loop() {
		l, err := Open(dir, Options{})
		must(b, err)
		if _, last := bounds(b, l); last != next {
			b.Fatalf("the log ends with %d, want %d", last, next)
		}
		must(b, l.Close())
	}
}

// BenchmarkGetLog reads entries of a kilobyte, in their order, from the page cache.
func BenchmarkGetLog(b *testing.B) {
	l, err := openUnsynced(diskDir(b), DefaultSegmentBytes)
	must(b, err)
	defer func() { must(b, l.Close()) }()
	batch := batchOf(1024, 1<<10)
	for i, log := range batch {
		log.Index = uint64(i + 1)
	}
	must(b, l.StoreLogs(batch))
	var have raft.Log
	var index uint64
	b.SetBytes(1 << 10)
	for b.Loop() {
		must(b, l.GetLog(index%1024+1, &have))
		index++
	}
}
