package kv

import (
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
		want, wantErr := h.store.Range(t.Context(), r)
		got, _, err := chunksOf(t.Context(), h.store, r, rapid.IntRange(1, 300).Draw(rt, "chunk"))
		if errors.Is(err, ErrUnsupportedSort) || errors.Is(err, ErrUnsupportedFilter) {
			return
		}
		if !errors.Is(err, wantErr) {
			rt.Fatalf("got %v, want %v", err, wantErr)
		}
		if wantErr == nil && !proto.Equal(got, want) {
			rt.Fatalf("%v: got %v, want %v", r, got, want)
		}
	})
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
