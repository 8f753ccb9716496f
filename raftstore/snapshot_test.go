package raftstore

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/hashicorp/raft"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv"
)

func writeTree(t testing.TB, files map[string]string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func readArchive(t testing.TB, dir string) []byte {
	t.Helper()
	r, err := newArchiveReader(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	content, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if int64(len(content)) != r.Size() {
		t.Errorf("the archive has %d bytes, announced were %d", len(content), r.Size())
	}
	return content
}

var testTree = map[string]string{"a": "one", "empty": "", "sub/b": string(bytes.Repeat([]byte("x"), 100_000))}

func TestArchiveRoundTrip(t *testing.T) {
	archive := readArchive(t, writeTree(t, testTree))
	out := filepath.Join(t.TempDir(), "out")
	rest := bytes.NewReader(append(archive, "what follows"...))
	if err := unpackArchive(rest, out); err != nil {
		t.Fatal(err)
	}
	if rest.Len() != len("what follows") {
		t.Error("unpacking read past the archive's end")
	}
	for name, want := range testTree {
		if got, err := os.ReadFile(filepath.Join(out, name)); err != nil || string(got) != want {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
}

func TestDamagedArchiveIsRefused(t *testing.T) {
	archive := readArchive(t, writeTree(t, testTree))
	for _, at := range []int{0, 9, 20, len(archive) / 2, len(archive) - 1} {
		damaged := bytes.Clone(archive)
		damaged[at] ^= 0x40
		if err := unpackArchive(bytes.NewReader(damaged), filepath.Join(t.TempDir(), "out")); err == nil {
			t.Errorf("damage at byte %d goes unnoticed", at)
		}
		if err := unpackArchive(bytes.NewReader(archive[:at]), filepath.Join(t.TempDir(), "out")); err == nil {
			t.Errorf("an archive cut at byte %d is taken", at)
		}
	}
}

func FuzzUnpackArchive(f *testing.F) {
	f.Add(readArchive(f, writeTree(f, map[string]string{"a": "one", "sub/b": "two"})))
	f.Add([]byte(archiveMagic + "\x00\x00\x00\x2a" + `{"files":[{"name":"../evil","size":0}]}`))
	f.Fuzz(func(t *testing.T, archive []byte) {
		dir := t.TempDir()
		_ = unpackArchive(bytes.NewReader(archive), filepath.Join(dir, "out"))
		entries, err := os.ReadDir(dir)
		if err != nil || len(entries) > 1 {
			t.Errorf("files beside the directory: %v, %v", entries, err)
		}
	})
}

// TestReceivedSnapshotSurvivesACrash ends a process, as it were, after it has received a snapshot and before
// that has replaced the state.
func TestReceivedSnapshotSurvivesACrash(t *testing.T) {
	ahead := openTestStore(t, filepath.Join(t.TempDir(), "kv"))
	if _, err := ahead.Apply([]kv.Entry{{Index: 7, Term: 1, Commands: []kv.Command{putCommand("key", "value")}}}); err != nil {
		t.Fatal(err)
	}
	checkpoint := filepath.Join(t.TempDir(), "checkpoint")
	if err := ahead.Checkpoint(checkpoint); err != nil {
		t.Fatal(err)
	}

	dir := t.TempDir()
	openTestStore(t, filepath.Join(dir, "kv")).Close()
	snapshots, err := openSnapshotStore(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	sink, err := snapshots.Create(1, 7, 1, raft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := sink.Write(readArchive(t, checkpoint)); err != nil {
		t.Fatal(err)
	}
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}

	for range 2 { // the second start finds it taken over
		snapshots, err = openSnapshotStore(dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		machine, err := openStateMachine(kv.Options{Dir: filepath.Join(dir, "kv")}, snapshots, testLogger(t, "m1"))
		if err != nil {
			t.Fatal(err)
		}
		r, err := machine.store.Load().Range(t.Context(), &pb.RangeRequest{Key: []byte("key")})
		if err != nil || len(r.Kvs) != 1 {
			t.Errorf("%v, %v", r, err)
		}
		if err := machine.close(); err != nil {
			t.Error(err)
		}
	}
}

// TestStateBehindItsSnapshotIsRefused: the log no longer has what the state lacks.
func TestStateBehindItsSnapshotIsRefused(t *testing.T) {
	dir := t.TempDir()
	snapshots, err := openSnapshotStore(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	sink, err := snapshots.Create(1, 7, 1, raft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := sink.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := openStateMachine(kv.Options{Dir: filepath.Join(dir, "kv")}, snapshots, testLogger(t, "m1")); err == nil {
		t.Error("opened")
	}
}

func TestInterruptedSnapshotsAreRemoved(t *testing.T) {
	dir := t.TempDir()
	snapshots, err := openSnapshotStore(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	half, err := snapshots.Create(1, 7, 1, raft.Configuration{}, 1, nil)
	if err != nil {
		t.Fatal(err)
	}
	archive := readArchive(t, writeTree(t, testTree))
	if _, err := half.Write(archive[:len(archive)/2]); err != nil {
		t.Fatal(err)
	}
	if err := half.Close(); err == nil {
		t.Error("half a snapshot is complete")
	}
	if _, err := snapshots.Create(1, 8, 1, raft.Configuration{}, 1, nil); err != nil { // cut off by a crash
		t.Fatal(err)
	}
	if snapshots, err = openSnapshotStore(dir, nil); err != nil {
		t.Fatal(err)
	}
	if newest, err := snapshots.newest(); newest != nil || err != nil {
		t.Errorf("%v, %v", newest, err)
	}
	if entries, err := os.ReadDir(filepath.Join(dir, "snapshots")); err != nil || len(entries) != 0 {
		t.Errorf("left over: %v, %v", entries, err)
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
