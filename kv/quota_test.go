package kv

import (
	"os"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv/layout"
)

// TestStoredBytesAreWhatCanBeRead: versions count until a compaction has come to what replaced or deleted them. That alone
// makes room; at once, over a restart and in a copy.
func TestStoredBytesAreWhatCanBeRead(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, Options{FS: fs})
	const version = 1 + 100 + layout.VersionOverhead // a key of one byte
	value := string(make([]byte, 100))
	want := func(when string, versions int64) {
		t.Helper()
		if got := s.StoredBytes(); got != versions*version {
			t.Errorf("%s: %d bytes, want %d versions of %d", when, got, versions, version)
		}
	}
	want("empty", 0)
	apply(t, s, put("a", value), put("a", value), put("b", value)) // 2, 3, 4
	want("after puts", 3)
	apply(t, s, del("b", "")) // 5
	want("after a delete", 3)
	if live := s.LiveBytes(); live != 101 {
		t.Errorf("%d live bytes", live)
	}
	apply(t, s, put("c", value), compact(3), put("c", value)) // 6, 7: the compaction within the entry of what it counts
	want("after the compaction of an overwrite", 4)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, Options{FS: fs})
	want("after a restart", 4)
	s = replace(t, s)
	want("in a copy", 4)
	must[*pb.CompactionResponse](t, s, compact(4))
	want("after a compaction that makes no room", 4)
	must[*pb.CompactionResponse](t, s, compact(5))
	want("after the compaction of the delete", 3)
	must[*pb.CompactionResponse](t, s, compact(7))
	want("after the compaction of all", 2)
	must[*pb.TxnResponse](t, s, Command{Txn: success(delOp("\x00", "\x00"), &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put("d", value).Put}}, delOp("d", "\x00"))})
	want("after one transaction has put and deleted", 3)
	apply(t, s, compact(8))
	want("after its compaction", 0)
}

// olderFormats is what the directories of testdata were made of, by releases that wrote those formats, and had removed what
// was compacted.
func olderFormats() []Command {
	return []Command{
		put("a", "one"), put("b", "1"), put("a", "two"), del("b", ""), put("gone", "x"), del("gone", ""), compact(4),
		put("c", "before"), put("c", "after"), {Txn: success(delOp("c", "\x00"), putOp("c"))},
		{Txn: success(txnOp(success(putOp("d"))), txnOp(success(delOp("d", ""))))},
		{LeaseGrant: &pb.LeaseGrantRequest{ID: 7, TTL: 60}}, put("e", "last"),
	}
}

// TestOlderFormats: a directory of an older format has, once it is open, all that one of the present format has after the
// same; also if it was cut off while it was measured.
func TestOlderFormats(t *testing.T) {
	for _, format := range []string{"format1", "format2"} {
		t.Run(format, func(t *testing.T) { testOlderFormat(t, format) })
	}
}

func testOlderFormat(t *testing.T, format string) {
	dir := t.TempDir() + "/db"
	if err := os.CopyFS(dir, os.DirFS("testdata/"+format)); err != nil {
		t.Fatal(err)
	}
	want := open(t, Options{})
	for _, c := range olderFormats() {
		apply(t, want, c)
	}
	for _, cutOff := range []bool{false, true} {
		s := open(t, Options{Dir: dir, FS: vfs.Default})
		compareStores(t, s, want)
		if cutOff {
			both := func(commands ...Command) {
				apply(t, want, commands...)
				// The entries' indexes are those of another log.
				if _, err := s.Apply([]Entry{{Index: s.AppliedIndex() + 1, Term: 2, Commands: commands}}); err != nil {
					t.Fatal(err)
				}
			}
			both(put("a", "later"), Command{Txn: success(delOp("a", "\x00"), putOp("f"), putOp("g"))}, put("a", "again"))
			compareStores(t, s, want)
			for revision := int64(5); revision <= want.Revision(); revision++ {
				both(compact(revision))
				compareStores(t, s, want)
				if got, want := s.StoredBytes(), want.StoredBytes(); got != want {
					t.Errorf("compacted at %d: %d bytes, want %d", revision, got, want)
				}
			}
			break
		}
		st := *s.current.Load()
		st.Superseded = layout.Unmeasured
		if err := s.db.Set(layout.StateKey, st.Encode(), pebble.NoSync); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}
