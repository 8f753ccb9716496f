package offline_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/kv/bboltfile"
	"github.com/ctlplane/ctlplane/kv/etcdfile"
	"github.com/ctlplane/ctlplane/kv/offline"
	"github.com/ctlplane/ctlplane/kv/offline/offlinetest"
)

// TestImportOfABumpedFile: etcdutl raises a revision by a record without a key.
func TestImportOfABumpedFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "db")
	w, err := etcdfile.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []etcdfile.Record{
		{Revision: 2, KV: &mvccpb.KeyValue{Key: []byte("a"), CreateRevision: 2, ModRevision: 2, Version: 1, Lease: 9}},
		{Revision: 1002, KV: &mvccpb.KeyValue{}},
	} {
		if err := w.Record(r); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Finish(&etcdfile.Contents{ScheduledCompact: 1002}); err != nil {
		t.Fatal(err)
	}
	o := kv.Options{FS: vfs.Default, Dir: filepath.Join(dir, "to")}
	if err := offlinetest.Import(path, o); err != nil {
		t.Fatal(err)
	}
	s := open(t, o)
	if s.Revision() != 1002 || s.CompactRevision() != 1002 {
		t.Errorf("revision %d, compacted %d", s.Revision(), s.CompactRevision())
	}
	if kvs := everything(t, s, 0); len(kvs) != 1 || kvs[0].Lease != 9 {
		t.Errorf("found %v", kvs)
	}
	if keys, err := s.LeaseKeys(9); err != nil || len(keys) != 0 {
		t.Errorf("keys %q hang on a lease that is not there: %v", keys, err)
	}
}

func TestImportRefusesNonsense(t *testing.T) {
	version := func(rev, create, mod, version int64) etcdfile.Record {
		return etcdfile.Record{Revision: rev, KV: &mvccpb.KeyValue{Key: []byte("a"), CreateRevision: create, ModRevision: mod, Version: version}}
	}
	twice := version(2, 2, 2, 1)
	twice.Sub = 1
	for name, records := range map[string][]etcdfile.Record{
		"another's revision": {version(3, 2, 2, 1)},
		"no version":         {version(2, 2, 2, 0)},
		"created later":      {version(2, 3, 2, 1)},
		"twice":              {version(2, 2, 2, 1), twice},
	} {
		dir := t.TempDir()
		path := filepath.Join(dir, "db")
		w, err := etcdfile.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range records {
			if err := w.Record(r); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Finish(&etcdfile.Contents{}); err != nil {
			t.Fatal(err)
		}
		if err := offlinetest.Import(path, kv.Options{FS: vfs.NewMem(), Dir: "to"}); !errors.Is(err, etcdfile.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzImport: whatever the file, the import ends in a store or in an error that blames the file.
func FuzzImport(f *testing.F) {
	s := open(f, kv.Options{FS: vfs.Default, Dir: filepath.Join(f.TempDir(), "from")})
	apply(f, s, put("a", "1"), put("b", "2"), kv.Command{DeleteRange: &pb.DeleteRangeRequest{Key: []byte("a")}}, compact(3),
		kv.Command{LeaseGrant: &pb.LeaseGrantRequest{ID: 5, TTL: 60}}, kv.Command{Put: &pb.PutRequest{Key: []byte("c"), Lease: 5}})
	path, err := offlinetest.Export(s, kv.Options{Dir: filepath.Join(f.TempDir(), "checkpoint"), FS: vfs.Default}, f.TempDir())
	if err != nil {
		f.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(content, 100, byte(1))
	f.Add(content[:len(content)/2], 0, byte(0))
	f.Fuzz(func(t *testing.T, content []byte, at int, change byte) {
		if at >= 0 && at < len(content) {
			content[at] ^= change
		}
		r, err := etcdfile.NewReader(bytes.NewReader(content), int64(len(content)))
		if err == nil {
			_, _ = r.Status(t.Context())
			o := kv.Options{FS: vfs.NewMem(), Dir: "to", MemTableBytes: 1 << 20, CacheBytes: 1 << 20}
			if err = offline.ImportEtcd(t.Context(), o, r); err == nil {
				s, err := kv.Open(o)
				if err != nil {
					t.Fatal(err)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err != nil && !errors.Is(err, etcdfile.ErrFormat) && !errors.Is(err, bboltfile.ErrFormat) {
			t.Errorf("not an error of the format: %v", err)
		}
	})
}
