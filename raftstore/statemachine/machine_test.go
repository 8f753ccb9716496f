package statemachine

import (
	"io"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/archive"
	"github.com/ctlplane/ctlplane/raftstore/snapshots"
)

// TestReceivedSnapshotSurvivesACrash ends a process, as it were, after it has received a snapshot and before
// that has replaced the state.
func TestReceivedSnapshotSurvivesACrash(t *testing.T) {
	ahead := openTestStore(t, filepath.Join(t.TempDir(), "kv"))
	if _, err := ahead.Apply([]kv.Entry{{Index: 7, Term: 1, Commands: []kv.Command{{Put: &pb.PutRequest{Key: []byte("key"), Value: []byte("value")}}}}}); err != nil {
		t.Fatal(err)
	}
	checkpoint := filepath.Join(t.TempDir(), "checkpoint")
	if err := ahead.Checkpoint(checkpoint); err != nil {
		t.Fatal(err)
	}

	dir := t.TempDir()
	openTestStore(t, filepath.Join(dir, "kv")).Close()
	saved, err := snapshots.Open(dir, snapshots.Options{})
	if err != nil {
		t.Fatal(err)
	}
	sink, err := saved.Create(1, 7, 1, raft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	r, err := archive.NewReader(checkpoint, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := io.Copy(sink, r); err != nil {
		t.Fatal(err)
	}
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}

	for range 2 { // the second start finds it taken over
		saved, err = snapshots.Open(dir, snapshots.Options{})
		if err != nil {
			t.Fatal(err)
		}
		machine, err := Open(Options{Store: kv.Options{Dir: filepath.Join(dir, "kv")}, Snapshots: saved, Logger: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		r, err := machine.Store().Range(t.Context(), &pb.RangeRequest{Key: []byte("key")})
		if err != nil || len(r.Kvs) != 1 {
			t.Errorf("%v, %v", r, err)
		}
		if err := machine.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestStateBehindItsSnapshotIsRefused: the log no longer has what the state lacks.
func TestStateBehindItsSnapshotIsRefused(t *testing.T) {
	dir := t.TempDir()
	saved, err := snapshots.Open(dir, snapshots.Options{})
	if err != nil {
		t.Fatal(err)
	}
	sink, err := saved.Create(1, 7, 1, raft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(Options{Store: kv.Options{Dir: filepath.Join(dir, "kv")}, Snapshots: saved, Logger: slog.New(slog.DiscardHandler)}); err == nil {
		t.Error("opened")
	}
}

func openTestStore(t *testing.T, dir string) *kv.Store {
	t.Helper()
	store, err := kv.Open(kv.Options{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	return store
}
