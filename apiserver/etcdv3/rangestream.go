package etcdv3

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ctlplane/ctlplane/apiserver/etcdv3/rpcerr"
	"github.com/ctlplane/ctlplane/kv"
)

// RangeStream answers a range of any size in chunks of about the size of the largest request. Who reads slowly holds up
// nobody: between two chunks nothing is held but where to go on.
func (s *kvServer) RangeStream(r *pb.RangeRequest, stream pb.KV_RangeStreamServer) error {
	err := s.store.RangeStream(stream.Context(), r, s.maxBytes, func(chunk *pb.RangeResponse) error {
		return stream.Send(&pb.RangeStreamResponse{RangeResponse: chunk})
	})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, kv.ErrUnsupportedSort), errors.Is(err, kv.ErrUnsupportedFilter):
		return status.Error(codes.Unimplemented, err.Error())
	}
	return rpcerr.ToStatus(err)
}

// RangeStream is permitted as Range is: when it begins, and again before each chunk that is sent after users or roles have
// changed.
func (b *authorized) RangeStream(ctx context.Context, r *pb.RangeRequest, chunkBytes int, send func(*pb.RangeResponse) error) error {
	permitted := func(auth *kv.AuthState, c *kv.Caller) error { return auth.CheckRead(c, r.Key, r.RangeEnd) }
	check := b.authorizer.CheckLatest
	if r.Serializable {
		check = b.authorizer.Check
	}
	by, err := check(ctx, permitted)
	if err != nil {
		return err
	}
	return b.Backend.RangeStream(ctx, r, chunkBytes, func(chunk *pb.RangeResponse) (err error) {
		if b.Auth() != by {
			if by, err = check(ctx, permitted); err != nil {
				return err
			}
		}
		return send(chunk)
	})
}
