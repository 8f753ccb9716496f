package kv

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"pgregory.net/rapid"

	"github.com/ctlplane/ctlplane/kv/etcdfile"
)

// readFile has read read an etcd database.
func readFile(path string, read func(*etcdfile.Reader) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	r, err := etcdfile.NewReader(file, info.Size())
	if err != nil {
		return err
	}
	return read(r)
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
		o := Options{FS: vfs.NewMem(), Dir: "from", MemTableBytes: 1 << 20}
		s, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		index := uint64(0)
		apply := func(c Command) {
			index++
			if _, err := s.Apply([]Entry{{Index: index, Term: 1, Commands: []Command{c}}}); err != nil {
				t.Fatal(err)
			}
		}
		for range rapid.IntRange(0, 40).Draw(t, "commands before") {
			apply(genCommand(t, s.Revision()))
		}
		first, err := exportEtcd(s, dir)
		if err != nil {
			t.Fatal(err)
		}
		o.Dir = "to"
		var live *LiveImport
		err = readFile(first, func(r *etcdfile.Reader) (err error) {
			live, err = BeginLiveImport(context.Background(), o, r)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer live.Close()
		for range rapid.IntRange(0, 40).Draw(t, "commands after") {
			if c := genCommand(t, s.Revision()); c.Compact == nil { // the compaction comes last: its history is read first
				apply(c)
			}
		}
		s.options.Dir = "from-later" // of the checkpoint alone
		later, err := exportEtcd(s, filepath.Join(dir, "later"))
		if err != nil {
			t.Fatal(err)
		}
		end := LiveEnd{Compacted: s.CompactRevision()}
		if rapid.Bool().Draw(t, "compacted meanwhile") && s.Revision() > s.CompactRevision() {
			end.Compacted = rapid.Int64Range(s.CompactRevision()+1, s.Revision()).Draw(t, "compaction")
			apply(compact(end.Compacted))
		}
		for _, l := range s.Leases() {
			granted, _ := s.LeaseTTL(l.ID)
			end.Leases = append(end.Leases, etcdfile.Lease{ID: l.ID, TTL: granted})
		}
		err = readFile(later, func(r *etcdfile.Reader) (err error) {
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
		imported, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		defer imported.Close()
		compareStores(t, imported, s)
		if err := os.RemoveAll(dir); err != nil {
			t.Fatal(err)
		}
	})
}

// applyLater applies the revisions of a file that follow those that are there.
func applyLater(live *LiveImport, r *etcdfile.Reader, synced bool) error {
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

// TestLiveImportRefusesGaps: a revision that got lost on the way, or was changed, is found out.
func TestLiveImportRefusesGaps(t *testing.T) {
	s := open(t, Options{FS: diskFS, Dir: filepath.Join(t.TempDir(), "from")})
	apply(t, s, put("a", "1")) // revision 2
	path, err := exportEtcd(s, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	var live *LiveImport
	err = readFile(path, func(r *etcdfile.Reader) (err error) {
		live, err = BeginLiveImport(t.Context(), Options{FS: vfs.NewMem(), Dir: "to"}, r)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer live.Close()
	of := func(rev, mod int64, key string) []etcdfile.Record {
		return []etcdfile.Record{{Revision: rev, KV: &mvccpb.KeyValue{Key: []byte(key), CreateRevision: mod, ModRevision: mod, Version: 1}}}
	}
	for name, try := range map[string]func() error{
		"got lost":        func() error { return live.Apply(4, of(4, 4, "b")) },
		"came after":      func() error { return live.Apply(2, of(2, 2, "b")) },
		"changes nothing": func() error { return live.Apply(3, nil) },
		"says revision 4": func() error { return live.Apply(3, of(3, 4, "b")) },
		"revision 3":      func() error { return live.Apply(3, of(3, 3, "")) },
		"ends at 2":       func() error { return live.Finish(LiveEnd{Compacted: 3}) },
	} {
		if err := try(); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := live.Apply(3, of(3, 3, "b")); err != nil || live.Revision() != 3 || live.Keys() != 2 {
		t.Errorf("revision %d, %d keys, %v", live.Revision(), live.Keys(), err)
	}
}
