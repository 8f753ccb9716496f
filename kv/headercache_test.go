package kv

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// TestHeadersAreFoundWhereverTheyAre writes keys with a cache that forgets most of them, while memory tables
// are flushed, history is compacted and the store is opened again: each put has to know the version before it.
func TestHeadersAreFoundWhereverTheyAre(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	options := Options{Dir: "db", FS: vfs.NewMem(), CachedHeaders: 16}
	s, err := Open(options)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	versions := map[string]int64{}
	index := uint64(0)
	apply := func(commands ...Command) {
		t.Helper()
		index++
		results, err := s.Apply([]Entry{{Index: index, Term: 1, Commands: commands}})
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range results[0] {
			if r.Err != nil {
				t.Fatal(r.Err)
			}
			put := commands[i].Put
			if put == nil {
				continue
			}
			if have, want := r.Response.(*pb.PutResponse).PrevKv.GetVersion(), versions[string(put.Key)]; have != want {
				t.Fatalf("entry %d: %s was at version %d, want %d", index, put.Key, have, want)
			}
			versions[string(put.Key)]++
		}
	}
	for range 3000 {
		switch random.IntN(40) {
		case 0:
			err = s.Flush()
		case 1:
			if err = s.Close(); err == nil {
				s, err = Open(options)
			}
		case 2:
			if revision := s.Revision(); revision > s.CompactRevision() {
				apply(Command{Compact: &pb.CompactionRequest{Revision: revision}})
				err = s.WaitCompacted(t.Context(), revision)
			}
		case 3, 4, 5:
			key := fmt.Sprintf("key-%03d", random.IntN(150))
			apply(Command{DeleteRange: &pb.DeleteRangeRequest{Key: []byte(key)}})
			versions[key] = 0
		default:
			var commands []Command
			seen := map[string]bool{}
			for range 1 + random.IntN(12) {
				key := fmt.Sprintf("key-%03d", random.IntN(150))
				if !seen[key] {
					commands = append(commands, Command{Put: &pb.PutRequest{Key: []byte(key), Value: []byte("v"), PrevKv: true}})
				}
				seen[key] = true
			}
			apply(commands...)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// TestHeaderCacheIsBounded by bytes: long keys don't make it grow.
func TestHeaderCacheIsBounded(t *testing.T) {
	s := open(t, Options{CachedHeaders: 1000})
	const keys = 100
	key := func(i int) string { return fmt.Sprint(i) + string(make([]byte, 100_000)) }
	for i := range keys {
		apply(t, s, put(key(i), "x"))
	}
	cached := 0
	for i := range keys {
		if _, ok := s.apply.headers.Get([]byte(key(i))); ok {
			cached++
		}
	}
	if cached == 0 || cached > 10 {
		t.Errorf("%d long keys are cached", cached)
	}
	if n := get(t, s, &pb.RangeRequest{Key: []byte{0}, RangeEnd: []byte{0}, CountOnly: true}).Count; n != keys {
		t.Errorf("%d keys", n)
	}
}
