package kv

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/ctlplane/ctlplane/kv/bboltfile"
	"github.com/ctlplane/ctlplane/kv/etcdfile"
)

// exportEtcd writes a store's state to a file, by way of a checkpoint, as a running member does.
func exportEtcd(s *Store, dir string) (path string, err error) {
	checkpoint := s.options.Dir + "-checkpoint"
	if err := s.Checkpoint(checkpoint); err != nil {
		return "", err
	}
	b, err := OpenBackup(Options{Dir: checkpoint, FS: s.options.FS})
	if err != nil {
		return "", err
	}
	defer b.Close()
	contents, err := b.Contents()
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, "db")
	w, err := etcdfile.Create(path)
	if err != nil {
		return "", err
	}
	if err := b.Records(context.Background(), filepath.Join(dir, "sorting"), nil, w.Record); err != nil {
		return "", errors.Join(err, w.Abort())
	}
	return path, w.Finish(contents)
}

func importFile(path string, o Options) error {
	return readFile(path, func(r *etcdfile.Reader) error { return ImportEtcd(context.Background(), o, r) })
}

// failer is a testing.T or a rapid.T.
type failer interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// compareStores fails where two stores answer differently at any revision that both can read.
func compareStores(t failer, got, want *Store) {
	t.Helper()
	g, w := got.Metrics(), want.Metrics()
	if g.Revision != w.Revision || g.CompactRevision != w.CompactRevision || g.Keys != w.Keys || g.LiveBytes != w.LiveBytes || g.StoredBytes != w.StoredBytes {
		t.Fatalf("revision %d, compacted %d, %d keys of %d bytes, %d with the history; want %d, %d, %d, %d, %d",
			g.Revision, g.CompactRevision, g.Keys, g.LiveBytes, g.StoredBytes, w.Revision, w.CompactRevision, w.Keys, w.LiveBytes, w.StoredBytes)
	}
	for rev := max(w.CompactRevision, 1); rev <= w.Revision; rev++ {
		if diff := differ(everything(t, got, rev), everything(t, want, rev)); diff != "" {
			t.Fatalf("at revision %d: %s", rev, diff)
		}
	}
	if a, b := history(t, got, w.CompactRevision), history(t, want, w.CompactRevision); !slices.Equal(a, b) {
		t.Fatalf("history:\n%s\nwant:\n%s", strings.Join(a, "\n"), strings.Join(b, "\n"))
	}
	compareLeases(t, got, want)
	a, b := got.Auth(), want.Auth()
	if a.Enabled() != b.Enabled() || a.Revision() != b.Revision() || !slices.Equal(a.Users(), b.Users()) || !slices.Equal(a.Roles(), b.Roles()) {
		t.Fatalf("users %v, roles %v; want %v, %v", a.Users(), a.Roles(), b.Users(), b.Roles())
	}
}

func everything(t failer, s *Store, rev int64) []*mvccpb.KeyValue {
	t.Helper()
	resp, err := s.Range(context.Background(), &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, Revision: rev})
	if err != nil {
		t.Fatal(err)
	}
	return resp.Kvs
}

func differ(got, want []*mvccpb.KeyValue) string {
	if len(got) != len(want) {
		return fmt.Sprintf("%d keys, want %d", len(got), len(want))
	}
	for i := range got {
		if !proto.Equal(got[i], want[i]) {
			return fmt.Sprintf("%v, want %v", got[i], want[i])
		}
	}
	return ""
}

// compareImported compares a store with what becomes of it as etcd's file in dir, imported with options o.
func compareImported(t failer, s *Store, dir string, o Options) {
	t.Helper()
	path, err := exportEtcd(s, dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := importFile(path, o); err != nil {
		t.Fatal(err)
	}
	imported, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	defer imported.Close()
	compareStores(t, imported, s)
}

// history is the changes after a revision.
func history(t failer, s *Store, after int64) []string {
	h, err := newHistoryIterator(s.db, after+1, s.Revision())
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	var all []string
	for ok := h.first(); ok; ok = h.next() {
		all = append(all, fmt.Sprintf("%d %q %t %d", h.rev, h.change.key, h.change.deleted, h.change.prev))
	}
	if h.err != nil {
		t.Fatal(h.err)
	}
	return all
}

func compareLeases(t failer, got, want *Store) {
	t.Helper()
	if a, b := got.Leases(), want.Leases(); len(a) != len(b) {
		t.Fatalf("%d leases, want %d", len(a), len(b))
	}
	for _, l := range want.Leases() {
		a, err := got.LeaseKeys(l.ID)
		if err != nil {
			t.Fatal(err)
		}
		b, err := want.LeaseKeys(l.ID)
		if err != nil {
			t.Fatal(err)
		}
		ttl, _ := got.LeaseTTL(l.ID)
		if granted, _ := want.LeaseTTL(l.ID); ttl != granted || !slices.EqualFunc(a, b, bytes.Equal) {
			t.Fatalf("lease %d: %d s, keys %q; want %d s, %q", l.ID, ttl, a, granted, b)
		}
	}
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
		o := Options{FS: vfs.NewMem(), Dir: "from", MemTableBytes: 1 << 20}
		s, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		for index := range rapid.IntRange(0, 60).Draw(t, "commands") {
			e := Entry{Index: uint64(index + 1), Term: 1, Commands: []Command{genCommand(t, s.Revision())}}
			if _, err := s.Apply([]Entry{e}); err != nil {
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
	from := open(t, Options{})
	apply(t, from, put("a", "1"), Command{Txn: &pb.TxnRequest{Success: []*pb.RequestOp{
		{Request: &pb.RequestOp_RequestDeleteRange{RequestDeleteRange: &pb.DeleteRangeRequest{Key: []byte{0}, RangeEnd: []byte{0}}}},
		{Request: &pb.RequestOp_RequestPut{RequestPut: &pb.PutRequest{Key: []byte("a"), Value: []byte("2")}}},
	}}})
	path, err := exportEtcd(from, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	o := Options{FS: diskFS, Dir: filepath.Join(t.TempDir(), "to")}
	if err := importFile(path, o); err != nil {
		t.Fatal(err)
	}
	compareStores(t, open(t, o), from)
}

// TestAdopt: a restored store is ahead of the one that it is a copy of, and its past can't be read.
func TestAdopt(t *testing.T) {
	dir := t.TempDir()
	s := open(t, Options{FS: diskFS, Dir: filepath.Join(dir, "from")})
	apply(t, s, put("a", "1"), put("a", "2"), Command{Member: &MemberUpdate{Operation: MemberSet, Member: Member{ID: 7, Name: "old"}}})
	to := Options{FS: diskFS, Dir: filepath.Join(dir, "to")}
	if err := s.Checkpoint(to.Dir); err != nil {
		t.Fatal(err)
	}
	summary, err := Adopt(to, Adoption{Index: 1, Term: 1, BumpRevision: 1000, MarkCompacted: true})
	if err != nil || summary.Revision != 1003 || summary.CompactRevision != 1003 || summary.Keys != 1 {
		t.Fatal(summary, err)
	}
	n := open(t, to)
	if n.AppliedIndex() != 1 || n.AppliedTerm() != 1 || len(n.Members()) != 0 {
		t.Errorf("applied %d, members %v", n.AppliedIndex(), n.Members())
	}
	if _, err := n.Range(context.Background(), &pb.RangeRequest{Key: []byte("a"), Revision: 3}); !errors.Is(err, ErrCompacted) {
		t.Errorf("a read of the past: %v", err)
	}
	if kvs := everything(t, n, 1003); len(kvs) != 1 || string(kvs[0].Value) != "2" || kvs[0].ModRevision != 3 {
		t.Errorf("found %v", kvs)
	}
	if r := must[*pb.PutResponse](t, n, put("a", "3")); r.Header.Revision != 1004 {
		t.Errorf("the next revision is %d", r.Header.Revision)
	}
	if err := n.WaitCompacted(t.Context(), 1003); err != nil {
		t.Fatal(err)
	}
}

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
	o := Options{FS: diskFS, Dir: filepath.Join(dir, "to")}
	if err := importFile(path, o); err != nil {
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
		if err := importFile(path, Options{FS: vfs.NewMem(), Dir: "to"}); !errors.Is(err, etcdfile.ErrFormat) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzImport: whatever the file, the import ends in a store or in an error that blames the file.
func FuzzImport(f *testing.F) {
	s := open(f, Options{FS: diskFS, Dir: filepath.Join(f.TempDir(), "from")})
	apply(f, s, put("a", "1"), put("b", "2"), del("a", ""), compact(3),
		Command{LeaseGrant: &pb.LeaseGrantRequest{ID: 5, TTL: 60}}, Command{Put: &pb.PutRequest{Key: []byte("c"), Lease: 5}})
	path, err := exportEtcd(s, f.TempDir())
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
			o := Options{FS: vfs.NewMem(), Dir: "to", MemTableBytes: 1 << 20, CacheBytes: 1 << 20}
			if err = ImportEtcd(t.Context(), o, r); err == nil {
				s, err := Open(o)
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
