package kv_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"pgregory.net/rapid"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/kv/etcdfile"
	"github.com/ctlplane/ctlplane/kv/offline"
	"github.com/ctlplane/ctlplane/kv/offline/offlinetest"
)

func init() { *kv.CompareImported = compareImported }

// compareImported compares a store with what becomes of it as etcd's file in dir, imported with options o.
func compareImported(t kv.Failer, s *kv.Store, dir string, o kv.Options) {
	t.Helper()
	checkpoint := o
	checkpoint.Dir += "-checkpoint"
	path, err := offlinetest.Export(s, checkpoint, dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := offlinetest.Import(path, o); err != nil {
		t.Fatal(err)
	}
	compareOpened(t, s, o)
}

// compareOpened compares a store with the one that options o open.
func compareOpened(t kv.Failer, s *kv.Store, o kv.Options) {
	t.Helper()
	other, err := kv.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	kv.CompareStores(t, other, s)
}

// TestExportAndImport: a store that was exported to etcd's format and imported again answers as it did, at every
// revision.
func TestExportAndImport(t *testing.T) {
	root := t.TempDir()
	runs := 0 // and so a directory of its own for each
	rapid.Check(t, func(t *rapid.T) {
		runs++
		dir := filepath.Join(root, fmt.Sprint(runs))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		o := kv.Options{FS: vfs.NewMem(), Dir: "from", MemTableBytes: 1 << 20}
		s, err := kv.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for index := range rapid.IntRange(0, 60).Draw(t, "commands") {
			e := kv.Entry{Index: uint64(index + 1), Term: 1, Commands: []kv.Command{kv.GenCommand(t, s.Revision())}}
			if _, err := s.Apply([]kv.Entry{e}); err != nil {
				t.Fatal(err)
			}
		}
		if rapid.Bool().Draw(t, "compaction done") {
			if err := s.WaitCompacted(context.Background(), s.CompactRevision()); err != nil {
				t.Fatal(err)
			}
		}
		o.Dir = "to"
		compareImported(t, s, dir, o)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	})
}

// TestImportDeletedAndPutByOneRevision: etcd lets a transaction delete all keys from the first on and put one of them.
func TestImportDeletedAndPutByOneRevision(t *testing.T) {
	o := kv.Options{FS: vfs.NewMem(), Dir: "from"}
	from, err := kv.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	first := kv.Command{Put: &pb.PutRequest{Key: []byte("a"), Value: []byte("1")}}
	again := kv.Command{Txn: &pb.TxnRequest{Success: []*pb.RequestOp{
		{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}}},
		{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("a"), Value: []byte("2")}}},
	}}}
	if _, err := from.Apply([]kv.Entry{{Index: 1, Term: 1, Commands: []kv.Command{first, again}}}); err != nil {
		t.Fatal(err)
	}
	o.Dir = "to"
	compareImported(t, from, t.TempDir(), o)
}

// TestLiveImport: a store that was made of a snapshot, the revisions after it and what no watch shows answers as the one that it
// is a copy of, at every revision.
func TestLiveImport(t *testing.T) {
	root := t.TempDir()
	runs := 0 // and so a directory of its own for each
	rapid.Check(t, func(t *rapid.T) {
		runs++
		dir := filepath.Join(root, fmt.Sprint(runs))
		if err := os.MkdirAll(filepath.Join(dir, "later"), 0o700); err != nil {
			t.Fatal(err)
		}
		o := kv.Options{FS: vfs.NewMem(), Dir: "from", MemTableBytes: 1 << 20}
		s, err := kv.Open(o)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		index := uint64(0)
		apply := func(c kv.Command) {
			index++
			if _, err := s.Apply([]kv.Entry{{Index: index, Term: 1, Commands: []kv.Command{c}}}); err != nil {
				t.Fatal(err)
			}
		}
		for range rapid.IntRange(0, 40).Draw(t, "commands before") {
			apply(kv.GenCommand(t, s.Revision()))
		}
		checkpoint := o
		checkpoint.Dir = "first"
		first, err := offlinetest.Export(s, checkpoint, dir)
		if err != nil {
			t.Fatal(err)
		}
		o.Dir = "to"
		var live *offline.LiveImport
		err = offlinetest.ReadFile(first, func(r *etcdfile.Reader) (err error) {
			live, err = offline.BeginLiveImport(context.Background(), o, r)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer live.Close()
		for range rapid.IntRange(0, 40).Draw(t, "commands after") {
			if c := kv.GenCommand(t, s.Revision()); c.Compact == nil { // the compaction comes last: its history is read first
				apply(c)
			}
		}
		checkpoint.Dir = "later"
		later, err := offlinetest.Export(s, checkpoint, filepath.Join(dir, "later"))
		if err != nil {
			t.Fatal(err)
		}
		end := offline.LiveEnd{Compacted: s.CompactRevision()}
		if rapid.Bool().Draw(t, "compacted meanwhile") && s.Revision() > s.CompactRevision() {
			end.Compacted = rapid.Int64Range(s.CompactRevision()+1, s.Revision()).Draw(t, "compaction")
			apply(kv.Command{Compact: &pb.CompactionRequest{Revision: end.Compacted}})
		}
		for _, l := range s.Leases() {
			granted, _ := s.LeaseTTL(l.ID)
			end.Leases = append(end.Leases, etcdfile.Lease{ID: l.ID, TTL: granted})
		}
		err = offlinetest.ReadFile(later, func(r *etcdfile.Reader) (err error) {
			if end.Auth, err = r.Contents(); err != nil {
				return err
			}
			return applyLater(live, r, rapid.Bool().Draw(t, "synced on the way"))
		})
		if err != nil {
			t.Fatal(err)
		}
		if live.Keys() != s.Metrics().Keys {
			t.Fatalf("%d keys, want %d", live.Keys(), s.Metrics().Keys)
		}
		if err := live.Finish(end); err != nil {
			t.Fatal(err)
		}
		if err := live.Close(); err != nil {
			t.Fatal(err)
		}
		compareOpened(t, s, o)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	})
}

// applyLater applies the revisions of a file that follow those that are there.
func applyLater(live *offline.LiveImport, r *etcdfile.Reader, synced bool) error {
	var records []etcdfile.Record
	flush := func() error {
		if len(records) == 0 {
			return nil
		}
		if err := live.Apply(records[0].Revision, records); err != nil {
			return err
		}
		records = nil
		if synced {
			return live.Sync()
		}
		return nil
	}
	began := live.Revision()
	err := r.Records(func(record etcdfile.Record) error {
		if record.Revision <= began {
			return nil
		}
		if len(records) > 0 && records[0].Revision != record.Revision {
			if err := flush(); err != nil {
				return err
			}
		}
		records = append(records, record)
		return nil
	})
	if err != nil {
		return err
	}
	return flush()
}
