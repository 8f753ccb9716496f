package etcdv3

import (
	"context"
	"errors"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv"
)

// leaseServer is etcd's Lease service.
type leaseServer struct {
	pb.UnimplementedLeaseServer
	store interface {
		Leases
		Watches
	}
}

func (s *leaseServer) LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	return answer(s.store.LeaseGrant(ctx, r))
}

func (s *leaseServer) LeaseRevoke(ctx context.Context, r *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	return answer(s.store.LeaseRevoke(ctx, r))
}

// LeaseTimeToLive answers for a lease that is not there with a time to live of -1, as etcd does.
func (s *leaseServer) LeaseTimeToLive(ctx context.Context, r *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	resp, err := s.store.LeaseTimeToLive(ctx, r)
	if errors.Is(err, kv.ErrLeaseNotFound) {
		return &pb.LeaseTimeToLiveResponse{Header: s.store.Header(), ID: r.ID, TTL: -1}, nil
	}
	return answer(resp, err)
}

func (s *leaseServer) LeaseLeases(ctx context.Context, _ *pb.LeaseLeasesRequest) (*pb.LeaseLeasesResponse, error) {
	return answer(s.store.LeaseLeases(ctx))
}

// LeaseKeepAlive renews leases one after the other as they come. A lease that is gone is answered with a time to live
// of zero, which is how etcd's clients learn of it.
func (s *leaseServer) LeaseKeepAlive(stream pb.Lease_LeaseKeepAliveServer) error {
	ctx, cancel := context.WithCancel(stream.Context())
	defer cancel()
	requests := receive(ctx, stream.Recv)
	for {
		var req received[pb.LeaseKeepAliveRequest]
		select {
		case req = <-requests:
		case <-ctx.Done():
			return streamEnd(ctx, ctx.Err())
		}
		if errors.Is(req.err, io.EOF) {
			return nil
		}
		if req.err != nil {
			return streamEnd(ctx, req.err)
		}
		resp, err := s.keepAlive(ctx, req.request.ID)
		if err != nil {
			return toStatus(err)
		}
		if err := stream.Send(resp); err != nil {
			return streamEnd(ctx, err)
		}
	}
}

func (s *leaseServer) keepAlive(ctx context.Context, id int64) (*pb.LeaseKeepAliveResponse, error) {
	// The header is taken first: a lease that is revoked right after its renewal must not seem to have been renewed at a
	// later revision than that of its end.
	resp := &pb.LeaseKeepAliveResponse{Header: s.store.Header(), ID: id}
	ttl, err := s.store.LeaseKeepAlive(ctx, id)
	if err != nil && !errors.Is(err, kv.ErrLeaseNotFound) {
		return nil, err
	}
	if err == nil {
		resp.TTL = ttl
	}
	return resp, nil
}
