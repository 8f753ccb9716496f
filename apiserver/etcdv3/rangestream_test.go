package etcdv3

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestRangeStream(t *testing.T) {
	c, ctx := newClient(t), t.Context()
	const keys, mebibyte = 30, 1 << 20
	for i := range keys {
		putAll(t, c, strings.Repeat("v", mebibyte/2), fmt.Sprintf("k%02d", i))
	}
	stream := func(r *pb.RangeRequest) (whole *pb.RangeResponse, chunks int, err error) {
		s, err := pb.NewKVClient(c.ActiveConnection()).RangeStream(ctx, r)
		if err != nil {
			return nil, 0, err
		}
		whole = &pb.RangeResponse{}
		for {
			m, err := s.Recv()
			if errors.Is(err, io.EOF) {
				return whole, chunks, nil
			}
			if err != nil {
				return nil, chunks, err
			}
			chunk := m.RangeResponse
			whole.Kvs = append(whole.Kvs, chunk.Kvs...)
			whole.Header, whole.Count, whole.More = chunk.Header, chunk.Count, chunk.More
			chunks++
		}
	}
	all := func() *pb.RangeRequest { return &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l")} }
	got, chunks, err := stream(all())
	if err != nil || len(got.Kvs) != keys || got.Count != keys || got.More || got.Header.GetRevision() != keys+1 || got.Header.MemberId != localID {
		t.Errorf("%d keys, %v, count %d, more %v: %v", len(got.GetKvs()), got.GetHeader(), got.GetCount(), got.GetMore(), err)
	}
	if chunks < keys/5 {
		t.Errorf("%d chunks for %d MiB", chunks, keys/2)
	}
	limited := all()
	limited.Limit = 7
	if got, _, err := stream(limited); err != nil || len(got.Kvs) != 7 || got.Count != keys || !got.More {
		t.Errorf("limited: %d keys, count %d, more %v: %v", len(got.GetKvs()), got.GetCount(), got.GetMore(), err)
	}
	sorted, filtered, future := all(), all(), all()
	sorted.SortTarget, sorted.SortOrder = pb.RangeRequest_MOD, pb.RangeRequest_DESCEND
	filtered.MaxModRevision = 3
	future.Revision = keys + 5
	for _, r := range []*pb.RangeRequest{sorted, filtered} {
		if _, _, err := stream(r); status.Code(err) != codes.Unimplemented {
			t.Errorf("%v: %v", r, err)
		}
	}
	unordered := all()
	unordered.SortTarget = pb.RangeRequest_MOD
	if got, _, err := stream(unordered); err != nil || len(got.Kvs) != keys {
		t.Errorf("a target to sort by, and no order: %d keys, %v", len(got.GetKvs()), err)
	}
	if _, _, err := stream(future); !errors.Is(rpctypes.Error(err), rpctypes.ErrFutureRev) {
		t.Error(err)
	}
	if _, _, err := stream(&pb.RangeRequest{}); !errors.Is(rpctypes.Error(err), rpctypes.ErrEmptyKey) {
		t.Error(err)
	}
}

// A client that has gone away ends the range.
func TestRangeStreamEndsWithItsClient(t *testing.T) {
	b := newLocalBackend(t)
	ctx, cancel := context.WithCancel(t.Context())
	for i := range 40 {
		if _, err := b.Put(ctx, &pb.PutRequest{Key: fmt.Appendf(nil, "k%02d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	sent := 0
	err := b.RangeStream(ctx, &pb.RangeRequest{Key: []byte("k"), RangeEnd: []byte("l")}, 1, func(*pb.RangeResponse) error {
		sent++
		cancel()
		return ctx.Err()
	})
	if !errors.Is(err, context.Canceled) || sent != 1 {
		t.Errorf("%d chunks sent, %v", sent, err)
	}
}
