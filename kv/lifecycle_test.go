package kv

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv/layout"
)

func TestOpenErrors(t *testing.T) {
	t.Run("in use", func(t *testing.T) {
		dir := filepath.Join(t.TempDir(), "db")
		s := open(t, Options{Dir: dir, FS: diskFS})
		if _, err := Open(Options{Dir: dir}); !errors.Is(err, ErrInUse) {
			t.Errorf("opened twice: %v", err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		open(t, Options{Dir: dir, FS: diskFS})
	})
	t.Run("other order of keys", func(t *testing.T) {
		fs := vfs.NewMem()
		db, err := pebble.Open("db", &pebble.Options{FS: fs})
		if err != nil {
			t.Fatal(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Options{Dir: "db", FS: fs}); !errors.Is(err, ErrFormat) {
			t.Error(err)
		}
	})
	t.Run("other version", func(t *testing.T) {
		fs := vfs.NewMem()
		s := open(t, Options{FS: fs})
		if err := s.db.Set(layout.StateKey, []byte{layout.FormatVersion + 1}, pebble.NoSync); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		// Not even the lock is left behind.
		for range 2 {
			if _, err := Open(Options{Dir: "db", FS: fs}); !errors.Is(err, ErrFormat) {
				t.Error(err)
			}
		}
	})
	t.Run("not a directory", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(Options{Dir: file}); err == nil {
			t.Error("opened a file")
		}
	})
}

// TestCheckpoint opens checkpoints that were made while writes went on: each holds everything that was
// applied before it, and whole entries only.
func TestCheckpoint(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{Dir: filepath.Join(dir, "db"), FS: diskFS, MemTableBytes: 64 << 10})
	apply(t, s, Command{LeaseGrant: &pb.LeaseGrantRequest{ID: 5, TTL: 60}}, Command{Member: &MemberUpdate{Operation: MemberAdd, Member: Member{ID: 1, Name: "one"}}})
	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Add(1)
	go func() {
		defer writer.Done()
		for i := 0; ; i += 10 {
			select {
			case <-stop:
				return
			default:
				apply(t, s, benchCommands(10, i, true)...)
			}
		}
	}()
	for n := range 5 {
		before := s.AppliedIndex()
		copied := filepath.Join(dir, fmt.Sprint("copy", n))
		if err := s.Checkpoint(copied); err != nil {
			t.Fatal(err)
		}
		c := open(t, Options{Dir: copied, FS: diskFS})
		if c.AppliedIndex() < before || c.Revision() != 1+10*int64(c.AppliedIndex()-1) || c.Metrics().Keys != c.Revision()-1 {
			t.Errorf("the checkpoint is at index %d (before: %d), revision %d, %d keys", c.AppliedIndex(), before, c.Revision(), c.Metrics().Keys)
		}
		if ttl, ok := c.LeaseTTL(5); !ok || ttl != 60 || len(c.Members()) != 1 {
			t.Errorf("lease %d, members %v", ttl, c.Members())
		}
		if err := s.Checkpoint(copied); err == nil {
			t.Error("a checkpoint went over another one")
		}
	}
	close(stop)
	writer.Wait()
}

func TestWaitApplied(t *testing.T) {
	s := open(t, Options{})
	done := make(chan error)
	go func() { done <- s.WaitApplied(context.Background(), 2) }()
	apply(t, s, put("a", ""))
	apply(t, s, put("a", ""))
	if err := <-done; err != nil || s.AppliedIndex() < 2 {
		t.Error(err)
	}
	if err := s.WaitApplied(cancelled(), 3); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	go func() { done <- s.WaitApplied(context.Background(), 3) }()
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

func TestClosedStore(t *testing.T) {
	s := open(t, Options{})
	apply(t, s, put("a", ""))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	_, apply := s.Apply([]Entry{{Index: 2, Commands: []Command{put("a", "")}}})
	_, rng := s.Range(context.Background(), &pb.RangeRequest{Key: []byte("a")})
	_, txn := s.ReadTxn(context.Background(), &pb.TxnRequest{})
	_, keys := s.LeaseKeys(1)
	for i, err := range []error{apply, rng, txn, keys, s.Flush(), s.Checkpoint("x"), s.Close(), s.WaitCompacted(context.Background(), 5)} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%d: %v", i, err)
		}
	}
	s.Metrics()
	if s.FlushedIndex() > 1 {
		t.Error(s.FlushedIndex())
	}
}

// TestDiskFailure: Apply that can't read what it needs fails, and nothing is applied after it.
func TestDiskFailure(t *testing.T) {
	mem := vfs.NewMem()
	s := open(t, Options{FS: mem})
	apply(t, s, benchCommands(1000, 0, true)...)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	toggle := errorfs.Toggle{Injector: errorfs.ErrInjected.If(errorfs.Reads)}
	s, err := Open(Options{Dir: "db", FS: errorfs.Wrap(mem, &toggle), CacheBytes: 1})
	if err != nil {
		t.Fatal(err)
	}
	toggle.On()
	entry := []Entry{{Index: s.AppliedIndex() + 1, Commands: benchCommands(1, 500, true)}}
	if _, err := s.Apply(entry); err == nil {
		t.Fatal("applied without being able to read")
	}
	toggle.Off()
	if _, err := s.Apply(entry); err == nil || s.AppliedIndex() != 1 {
		t.Errorf("applied after a failure: %v, index %d", err, s.AppliedIndex())
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}
