package offline_test

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/kv/offline"
)

// TestAdopt: a restored store is ahead of the one that it is a copy of, and its past can't be read.
func TestAdopt(t *testing.T) {
	dir := t.TempDir()
	s := open(t, kv.Options{FS: vfs.Default, Dir: filepath.Join(dir, "from")})
	apply(t, s, put("a", "1"), put("a", "2"), kv.Command{Member: &kv.MemberUpdate{Operation: kv.MemberSet, Member: kv.Member{ID: 7, Name: "old"}}})
	to := kv.Options{FS: vfs.Default, Dir: filepath.Join(dir, "to")}
	if err := s.Checkpoint(to.Dir); err != nil {
		t.Fatal(err)
	}
	summary, err := offline.Adopt(to, offline.Adoption{Index: 1, Term: 1, BumpRevision: 1000, MarkCompacted: true})
	if err != nil || summary.Revision != 1003 || summary.CompactRevision != 1003 || summary.Keys != 1 {
		t.Fatal(summary, err)
	}
	n := open(t, to)
	if n.AppliedIndex() != 1 || n.AppliedTerm() != 1 || len(n.Members()) != 0 {
		t.Errorf("applied %d, members %v", n.AppliedIndex(), n.Members())
	}
	if _, err := n.Range(t.Context(), &pb.RangeRequest{Key: []byte("a"), Revision: 3}); !errors.Is(err, kv.ErrCompacted) {
		t.Errorf("a read of the past: %v", err)
	}
	if kvs := everything(t, n, 1003); len(kvs) != 1 || string(kvs[0].Value) != "2" || kvs[0].ModRevision != 3 {
		t.Errorf("found %v", kvs)
	}
	if apply(t, n, put("a", "3")); n.Revision() != 1004 {
		t.Errorf("the next revision is %d", n.Revision())
	}
	if err := n.WaitCompacted(t.Context(), 1003); err != nil {
		t.Fatal(err)
	}
}

// TestStoredBytesOfAdopted: what a new group begins with counts as the copy says.
func TestStoredBytesOfAdopted(t *testing.T) {
	for _, marked := range []bool{false, true} {
		fs := vfs.NewMem()
		s := open(t, kv.Options{Dir: "db", FS: fs})
		apply(t, s, put("a", "1"), put("a", "2"))
		before := s.StoredBytes()
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if _, err := offline.Adopt(kv.Options{Dir: "db", FS: fs}, offline.Adoption{Index: 1, Term: 1, BumpRevision: 1000, MarkCompacted: marked}); err != nil {
			t.Fatal(err)
		}
		s = open(t, kv.Options{Dir: "db", FS: fs})
		if got := s.StoredBytes(); marked != (got == before/2) || !marked && got != before {
			t.Errorf("marked %v: %d bytes, %d before", marked, got, before)
		}
		// To a revision that no change has made.
		if r := apply(t, s, compact(1000))[0]; (r.Err != nil) != marked {
			t.Errorf("marked %v: %v", marked, r.Err)
		}
		if got := s.StoredBytes(); got != before/2 {
			t.Errorf("marked %v, after a compaction: %d bytes, want %d", marked, got, before/2)
		}
	}
}
