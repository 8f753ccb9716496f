package kv

import (
	"context"
	"errors"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

func open(t testing.TB, o Options) *Store {
	t.Helper()
	if o.Dir == "" {
		o.Dir = "db"
	}
	if o.FS == nil {
		o.FS = vfs.NewMem()
	}
	s, err := Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil && !errors.Is(err, ErrClosed) {
			t.Error(err)
		}
	})
	return s
}

// apply applies commands as the next entry and returns their results.
func apply(t testing.TB, s *Store, commands ...Command) []Result {
	t.Helper()
	results, err := s.Apply([]Entry{{Index: s.AppliedIndex() + 1, Term: 1, Commands: commands}})
	if err != nil {
		t.Fatal(err)
	}
	return results[0]
}

// must is apply for one command that has to succeed.
func must[M any](t testing.TB, s *Store, c Command) M {
	t.Helper()
	r := apply(t, s, c)[0]
	if r.Err != nil {
		t.Fatal(r.Err)
	}
	return r.Response.(M)
}

func put(key, value string) Command {
	return Command{Put: &pb.PutRequest{Key: []byte(key), Value: []byte(value)}}
}

func del(key, end string) Command {
	return Command{DeleteRange: &pb.DeleteRangeRequest{Key: []byte(key), RangeEnd: []byte(end)}}
}

func compact(rev int64) Command {
	return Command{Compact: &pb.CompactionRequest{Revision: rev}}
}

func get(t testing.TB, s *Store, r *pb.RangeRequest) *pb.RangeResponse {
	t.Helper()
	resp, err := s.Range(context.Background(), r)
	if err != nil {
		t.Fatal(err)
	}
	return resp
}

func TestStoreReopens(t *testing.T) {
	fs := vfs.NewMem()
	s := open(t, Options{FS: fs})
	if s.Revision() != 1 {
		t.Fatalf("an empty store is at revision %d, want 1", s.Revision())
	}
	apply(t, s, put("a", "1"), put("a", "2"), put("b", "3"))
	apply(t, s, del("b", ""))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, Options{FS: fs})
	if s.Revision() != 5 || s.AppliedIndex() != 2 || s.FlushedIndex() != 2 {
		t.Fatalf("revision %d, applied %d, flushed %d", s.Revision(), s.AppliedIndex(), s.FlushedIndex())
	}
	resp := get(t, s, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}})
	if len(resp.Kvs) != 1 || string(resp.Kvs[0].Value) != "2" || resp.Kvs[0].Version != 2 {
		t.Fatalf("found %v", resp)
	}
	old := get(t, s, &pb.RangeRequest{Key: []byte("b"), Revision: 4})
	if len(old.Kvs) != 1 || string(old.Kvs[0].Value) != "3" {
		t.Fatalf("found %v", old)
	}
}

func TestWatchLiveAndFromHistory(t *testing.T) {
	s := open(t, Options{})
	apply(t, s, put("a/1", "x"), put("b", "y"))
	ws := s.NewWatchStream()
	defer ws.Close()
	id, err := ws.Watch(WatchRequest{Key: []byte("a/"), RangeEnd: []byte("a0"), StartRevision: 2, PrevKV: true})
	if err != nil {
		t.Fatal(err)
	}
	first, err := ws.Next(context.Background())
	if err != nil || first.WatchID != id || len(first.Events) != 1 {
		t.Fatal(first, err)
	}
	apply(t, s, put("a/1", "z"))
	second, err := ws.Next(context.Background())
	if err != nil || len(second.Events) != 1 || string(second.Events[0].PrevKv.GetValue()) != "x" {
		t.Fatal(second, err)
	}
}

var diskFS = vfs.Default
