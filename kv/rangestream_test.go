package kv

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"
)

// chunksOf reads all chunks and puts them together again.
func chunksOf(ctx context.Context, s *Store, r *pb.RangeRequest, chunkBytes int) (*pb.RangeResponse, []int, error) {
	c, err := NewRangeChunks(r, chunkBytes)
	if err != nil {
		return nil, nil, err
	}
	whole := &pb.RangeResponse{}
	var lengths []int
	for !c.Done() {
		chunk, err := c.Next(ctx, s)
		if err != nil {
			return nil, nil, err
		}
		lengths = append(lengths, len(chunk.Kvs))
		whole.Kvs = append(whole.Kvs, chunk.Kvs...)
		if !c.Done() && (chunk.Header != nil || chunk.More || chunk.Count != 0 || len(chunk.Kvs) == 0) {
			return nil, nil, fmt.Errorf("a chunk that is not the last is %v", chunk)
		}
		whole.Header, whole.More, whole.Count = chunk.Header, chunk.More, chunk.Count
	}
	return whole, lengths, nil
}

// A range in chunks is the range, whatever was asked for and however small the chunks.
func TestRangeChunksAreTheRange(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		h := openHarness(rt)
		defer h.close(rt)
		for range 10 {
			h.apply(rt)
		}
		r := genRange(rt, h.model.rev())
		got, lengths, err := chunksOf(t.Context(), h.store, r, rapid.IntRange(1, 300).Draw(rt, "chunk"))
		if errors.Is(err, ErrUnsupportedSort) || errors.Is(err, ErrUnsupportedFilter) {
			if r.SortOrder == pb.RangeRequest_NONE && errors.Is(err, ErrUnsupportedSort) {
				rt.Fatalf("%v: %v", r, err)
			}
			return
		}
		asked := proto.CloneOf(r)
		asked.SortTarget = pb.RangeRequest_KEY
		want, wantErr := h.store.Range(t.Context(), asked)
		if r.SortTarget != pb.RangeRequest_KEY && err == nil {
			checkChunksSorted(rt, got.Kvs, lengths, r)
			slices.SortFunc(got.Kvs, func(a, b *mvccpb.KeyValue) int { return bytes.Compare(a.Key, b.Key) })
		}
		if !errors.Is(err, wantErr) {
			rt.Fatalf("got %v, want %v", err, wantErr)
		}
		if wantErr == nil && !proto.Equal(got, want) {
			rt.Fatalf("%v: got %v, want %v", r, got, want)
		}
	})
}

// checkChunksSorted wants the chunks in the order of the keys, and each sorted by what was asked for.
func checkChunksSorted(t *rapid.T, all []*mvccpb.KeyValue, lengths []int, r *pb.RangeRequest) {
	by := map[pb.RangeRequest_SortTarget]func(a, b *mvccpb.KeyValue) int{
		pb.RangeRequest_VERSION: func(a, b *mvccpb.KeyValue) int { return cmp.Compare(a.Version, b.Version) },
		pb.RangeRequest_CREATE:  func(a, b *mvccpb.KeyValue) int { return cmp.Compare(a.CreateRevision, b.CreateRevision) },
		pb.RangeRequest_MOD:     func(a, b *mvccpb.KeyValue) int { return cmp.Compare(a.ModRevision, b.ModRevision) },
		pb.RangeRequest_VALUE:   func(a, b *mvccpb.KeyValue) int { return bytes.Compare(a.Value, b.Value) },
	}[r.SortTarget]
	var before []byte // the largest key of the chunks before
	for _, n := range lengths {
		chunk := all[:n]
		all = all[n:]
		if !slices.IsSortedFunc(chunk, by) {
			t.Fatalf("%v: a chunk is %v", r, chunk)
		}
		largest := before
		for _, kv := range chunk {
			if before != nil && bytes.Compare(kv.Key, before) <= 0 {
				t.Fatalf("%v: key %q comes after %q", r, kv.Key, before)
			}
			if bytes.Compare(kv.Key, largest) > 0 {
				largest = kv.Key
			}
		}
		before = largest
	}
}

// TestRangeChunksTakeASortTargetWithoutAnOrder: a range that fits in a chunk comes as Range gives it; a longer one has
// every key once.
func TestRangeChunksTakeASortTargetWithoutAnOrder(t *testing.T) {
	s := open(t, Options{})
	for i := range 30 {
		apply(t, s, put(fmt.Sprintf("k%02d", 29-i), fmt.Sprint(i)))
	}
	for end, chunks := range map[string]int{"k10": 1, "l": 2} {
		r := &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte(end), SortTarget: pb.RangeRequest_MOD, KeysOnly: true}
		want, err := s.Range(t.Context(), r)
		if err != nil {
			t.Fatal(err)
		}
		got, lengths, err := chunksOf(t.Context(), s, r, 1<<20)
		if err != nil || len(lengths) != chunks {
			t.Fatalf("to %s: %d chunks, %v", end, len(lengths), err)
		}
		if chunks > 1 {
			for _, kvs := range [][]*mvccpb.KeyValue{got.Kvs, want.Kvs} {
				slices.SortFunc(kvs, func(a, b *mvccpb.KeyValue) int { return bytes.Compare(a.Key, b.Key) })
			}
		}
		if !proto.Equal(got, want) {
			t.Errorf("to %s: got %v, want %v", end, got, want)
		}
	}
}

func TestRangeChunks(t *testing.T) {
	s := open(t, Options{})
	const keys, valueLen = 3000, 100
	commands := make([]Command, keys)
	for i := range commands {
		commands[i] = put(fmt.Sprintf("k%05d", i), strings.Repeat("v", valueLen))
	}
	apply(t, s, commands...)
	all := &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l")}
	const chunkBytes = 16 << 10
	whole, lengths, err := chunksOf(t.Context(), s, all, chunkBytes)
	if err != nil || whole.Count != keys || len(whole.Kvs) != keys || whole.More {
		t.Fatalf("%d of %d keys, more %v: %v", len(whole.Kvs), whole.Count, whole.More, err)
	}
	if lengths[0] != firstChunkKeys || lengths[1] != 2*firstChunkKeys || slices.Max(lengths) > chunkBytes/valueLen {
		t.Errorf("chunks of %d keys", lengths)
	}
	limited, _, err := chunksOf(t.Context(), s, &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l"), Limit: 100}, chunkBytes)
	if err != nil || len(limited.Kvs) != 100 || !limited.More || limited.Count != keys {
		t.Errorf("limited: %d of %d, more %v: %v", len(limited.Kvs), limited.Count, limited.More, err)
	}
	for want, r := range map[error]*pb.RangeRequest{
		ErrUnsupportedSort:   {Key: []byte("k"), SortOrder: pb.RangeRequest_DESCEND},
		ErrUnsupportedFilter: {Key: []byte("k"), MinModRevision: 1},
		ErrEmptyKey:          {},
		ErrFutureRevision:    {Key: []byte("k"), Revision: keys + 2},
	} {
		if _, _, err := chunksOf(t.Context(), s, r, chunkBytes); !errors.Is(err, want) {
			t.Errorf("got %v, want %v", err, want)
		}
	}
}

// The chunks of a range are of one revision, also when another store takes over, until a compaction goes beyond it.
func TestRangeChunksArePinned(t *testing.T) {
	s := open(t, Options{})
	for i := range 50 {
		apply(t, s, put(fmt.Sprintf("k%02d", i), "old"))
	}
	c, err := NewRangeChunks(&pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l")}, 1)
	if err != nil {
		t.Fatal(err)
	}
	take := func(s *Store) *mvccpb.KeyValue {
		t.Helper()
		chunk, err := c.Next(t.Context(), s)
		if err != nil || len(chunk.Kvs) != 1 {
			t.Fatal(chunk, err)
		}
		return chunk.Kvs[0]
	}
	take(s)
	apply(t, s, put("k01", "new"), del("k02", ""), compact(51))
	if kv := take(s); string(kv.Value) != "old" {
		t.Errorf("the second chunk has %v", kv)
	}
	after := replace(t, s)
	if _, err := c.Next(t.Context(), s); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if kv := take(after); string(kv.Key) != "k02" {
		t.Errorf("the third chunk has %v", kv)
	}
	must[*pb.CompactionResponse](t, after, compact(52))
	if _, err := c.Next(t.Context(), after); !errors.Is(err, ErrCompacted) {
		t.Errorf("after a compaction: %v", err)
	}
}
