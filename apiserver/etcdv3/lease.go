package etcdv3

import (
	"context"
	"errors"
	"sync"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/sync/errgroup"

	"github.com/ctlplane/ctlplane/apiserver/etcdv3/rpcerr"
	"github.com/ctlplane/ctlplane/apiserver/etcdv3/streaming"
	"github.com/ctlplane/ctlplane/kv"
)

// leaseServer is etcd's Lease service.
type leaseServer struct {
	pb.UnimplementedLeaseServer
	store interface {
		Leases
		Headers
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

// parallelRenewals is how many leases of one stream are renewed at once. Each renewal has the leader prove that it leads; those
// that wait together share one proof.
const parallelRenewals = 64

// LeaseKeepAlive renews leases as they come, and answers each when it is renewed. A lease that is gone is answered with a
// time to live of zero, which is how etcd's clients learn of it.
func (s *leaseServer) LeaseKeepAlive(stream pb.Lease_LeaseKeepAliveServer) error {
	renewals, ctx := errgroup.WithContext(stream.Context())
	renewals.SetLimit(parallelRenewals)
	var sending sync.Mutex
	err := streaming.EachRequest(ctx, stream.Recv, func(req *pb.LeaseKeepAliveRequest) {
		renewals.Go(func() error {
			return streaming.Contained(func() error {
				resp, err := s.keepAlive(ctx, req.ID)
				if err != nil {
					return err
				}
				sending.Lock()
				defer sending.Unlock()
				return stream.Send(resp)
			})
		})
	})
	if failed := renewals.Wait(); failed != nil {
		err = failed
	}
	if err != nil {
		return rpcerr.ToStatus(err)
	}
	return nil
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
