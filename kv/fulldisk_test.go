package kv

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// smallDisk is a file system that is full while full is set.
type smallDisk struct {
	vfs.FS
	full  atomic.Bool
	asked chan struct{} // has a token once a write was told that there is no room
	room  chan FullDisk // how such writes go on
	gone  chan struct{} // closed to abandon the disk
}

func newSmallDisk(fs vfs.FS) *smallDisk {
	d := &smallDisk{asked: make(chan struct{}, 1), room: make(chan FullDisk), gone: make(chan struct{})}
	d.FS = errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if d.full.Load() && (op.Kind == errorfs.OpFileWrite || op.Kind == errorfs.OpCreate) {
			return &errFull{op.Path}
		}
		return nil
	}))
	return d
}

type errFull struct{ path string }

func (e *errFull) Error() string { return e.path + ": " + syscall.ENOSPC.Error() }
func (e *errFull) Unwrap() error { return syscall.ENOSPC }

func (d *smallDisk) wait() FullDisk {
	select {
	case d.asked <- struct{}{}:
	default:
	}
	select {
	case then := <-d.room:
		return then
	case <-d.gone:
		return FullAbandon
	}
}

// fillTables applies entries until memory tables need to be written.
func fillTables(t *testing.T, s *Store, from, n int) {
	t.Helper()
	for i := from; i < from+n; i++ {
		apply(t, s, put(fmt.Sprintf("key%05d", i), strings.Repeat("v", 4096)))
	}
}

func wantKeys(t *testing.T, s *Store, n int64) {
	t.Helper()
	if got := get(t, s, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, CountOnly: true}).Count; got != n {
		t.Errorf("%d keys, want %d", got, n)
	}
}

// TestFullDiskWaits: while the disk is full the store answers reads and takes what its memory takes; when
// there is room again it goes on, without having been opened again.
func TestFullDiskWaits(t *testing.T) {
	fs := vfs.NewMem()
	disk := newSmallDisk(fs)
	s := open(t, Options{FS: disk, DiskFull: disk.wait, MemTableBytes: 256 << 10})
	fillTables(t, s, 0, 100)
	disk.full.Store(true)
	fillTables(t, s, 100, 100)
	<-disk.asked
	wantKeys(t, s, 200)
	apply(t, s, del("key00000", ""))
	before := s.FlushedIndex()
	for range 5 { // a table is given up and begun again, the manifest waits
		disk.room <- FullRetry
		<-disk.asked
	}
	if s.FlushedIndex() != before {
		t.Error("something reached a full disk")
	}
	wantKeys(t, s, 199)
	disk.full.Store(false)
	close(disk.room)
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if s.FlushedIndex() != s.AppliedIndex() {
		t.Errorf("flushed up to %d of %d", s.FlushedIndex(), s.AppliedIndex())
	}
	fillTables(t, s, 200, 100)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	wantKeys(t, open(t, Options{FS: fs}), 299)
}

// TestFullDiskAbandoned: a store that is closed on a full disk leaves it as a crash would have, and does not
// say that more of it is durable.
func TestFullDiskAbandoned(t *testing.T) {
	fs := vfs.NewMem()
	disk := newSmallDisk(fs)
	s := open(t, Options{FS: disk, DiskFull: disk.wait, MemTableBytes: 256 << 10})
	fillTables(t, s, 0, 100)
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	flushed := s.FlushedIndex()
	disk.full.Store(true)
	fillTables(t, s, 100, 100)
	<-disk.asked
	close(disk.gone)
	if err := s.Flush(); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("flushed: %v", err)
	}
	if err := s.Checkpoint("copy"); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("copied: %v", err)
	}
	if got := s.FlushedIndex(); got != flushed {
		t.Errorf("flushed up to %d, was %d", got, flushed)
	}
	wantKeys(t, s, 200)
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	s = open(t, Options{FS: fs})
	if s.AppliedIndex() != flushed {
		t.Errorf("applied up to %d, want %d", s.AppliedIndex(), flushed)
	}
	wantKeys(t, s, 100)
}

// TestOpenOnFullDisk fails, and leaves nothing that would be in the way.
func TestOpenOnFullDisk(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, Options{FS: fs})
	apply(t, s, put("a", "b"))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	disk := newSmallDisk(fs)
	disk.full.Store(true)
	for range 2 {
		if _, err := Open(Options{Dir: "db", FS: disk, DiskFull: func() FullDisk { return FullAbandon }}); !errors.Is(err, syscall.ENOSPC) {
			t.Error(err)
		}
	}
	s = open(t, Options{FS: fs})
	if r, err := s.Range(context.Background(), &pb.RangeRequest{Key: []byte("a")}); err != nil || r.Count != 1 {
		t.Error(r, err)
	}
}

// TestMetricsWhileTheManifestWaits: Pebble tells its figures under the lock that it holds while the manifest waits for room, and a member's
// status waited with it.
func TestMetricsWhileTheManifestWaits(t *testing.T) {
	var full atomic.Bool
	waits, room := make(chan struct{}), make(chan struct{})
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && op.Kind == errorfs.OpFileWrite && strings.Contains(op.Path, "MANIFEST") {
			return &errFull{op.Path}
		}
		return nil
	}))
	var once sync.Once
	s := open(t, Options{FS: fs, MemTableBytes: 256 << 10, DiskFull: func() FullDisk {
		once.Do(func() { close(waits) })
		<-room
		return FullRetry
	}})
	before := s.Metrics()
	full.Store(true)
	fillTables(t, s, 0, 60)
	<-waits
	if m := s.Metrics(); m.DiskBytes != before.DiskBytes || m.Puts != 60 {
		t.Errorf("%d bytes after %d puts, want those of before, %d", m.DiskBytes, m.Puts, before.DiskBytes)
	}
	full.Store(false)
	close(room)
}
