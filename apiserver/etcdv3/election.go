package etcdv3

import (
	"bytes"
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"google.golang.org/grpc"

	"github.com/ctlplane/ctlplane/api/v3electionpb"
	"github.com/ctlplane/ctlplane/apiserver/etcdv3/rpcerr"
	"github.com/ctlplane/ctlplane/kv"
)

// Errors of elections, in etcd's words.
var (
	errNotLeader      = errors.New("election: not leader")
	errNoElected      = errors.New("election: no leader")
	errLeaderNotGiven = errors.New(`"leader" field must be provided`)
)

// electionServer is etcd's Election service.
type electionServer struct {
	v3electionpb.UnimplementedElectionServer
	sessions
}

// Campaign waits for the lead, for as long as the call lasts.
func (s *electionServer) Campaign(ctx context.Context, r *v3electionpb.CampaignRequest) (*v3electionpb.CampaignResponse, error) {
	return answer(s.campaign(ctx, r))
}

func (s *electionServer) campaign(ctx context.Context, r *v3electionpb.CampaignRequest) (*v3electionpb.CampaignResponse, error) {
	c, err := s.contend(ctx, r.Name, r.Lease)
	if err != nil {
		return nil, err
	}
	header, current, err := s.enter(ctx, c, r.Value)
	if err != nil {
		return nil, err
	}
	leader := &v3electionpb.LeaderKey{Name: r.Name, Key: c.key, Rev: c.revision, Lease: c.lease}
	if current != nil && !bytes.Equal(current.Kvs[0].Value, r.Value) {
		if header, err = s.proclaim(ctx, leader, r.Value); err != nil {
			return nil, s.leave(ctx, c, err)
		}
	}
	if err := s.first(ctx, c); err != nil {
		return nil, s.leave(ctx, c, err)
	}
	return &v3electionpb.CampaignResponse{Header: header, Leader: leader}, nil
}

// Proclaim changes the leader's value, if he leads still.
func (s *electionServer) Proclaim(ctx context.Context, r *v3electionpb.ProclaimRequest) (*v3electionpb.ProclaimResponse, error) {
	if r.Leader == nil {
		return nil, errLeaderNotGiven
	}
	header, err := s.proclaim(ctx, r.Leader, r.Value)
	if err != nil {
		return nil, rpcerr.ToStatus(err)
	}
	return &v3electionpb.ProclaimResponse{Header: header}, nil
}

func (s *electionServer) proclaim(ctx context.Context, leader *v3electionpb.LeaderKey, value []byte) (*pb.ResponseHeader, error) {
	lease, err := s.lease(ctx, leader.Lease)
	if err != nil {
		return nil, err
	}
	resp, err := s.store.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{createdAt(leader.Key, leader.Rev)},
		Success: []*pb.RequestOp{putOp(&pb.PutRequest{Key: leader.Key, Value: value, Lease: lease})},
	})
	switch {
	case err != nil:
		return nil, err
	case !resp.Succeeded:
		return nil, errNotLeader
	}
	return resp.Header, nil
}

// Resign gives the lead up. It is no error to have lost it already.
func (s *electionServer) Resign(ctx context.Context, r *v3electionpb.ResignRequest) (*v3electionpb.ResignResponse, error) {
	if r.Leader == nil {
		return nil, errLeaderNotGiven
	}
	resp, err := s.store.Txn(ctx, &pb.TxnRequest{
		Compare: []*pb.Compare{createdAt(r.Leader.Key, r.Leader.Rev)},
		Success: []*pb.RequestOp{deleteOp(r.Leader.Key)},
	})
	if err != nil {
		return nil, rpcerr.ToStatus(err)
	}
	return &v3electionpb.ResignResponse{Header: resp.Header}, nil
}

// Leader tells who leads.
func (s *electionServer) Leader(ctx context.Context, r *v3electionpb.LeaderRequest) (*v3electionpb.LeaderResponse, error) {
	resp, err := s.oldest(ctx, contenderPrefix(r.Name))
	switch {
	case err != nil:
		return nil, rpcerr.ToStatus(err)
	case len(resp.Kvs) == 0:
		return nil, rpcerr.ToStatus(errNoElected)
	}
	return &v3electionpb.LeaderResponse{Header: resp.Header, Kv: resp.Kvs[0]}, nil
}

// Observe tells who leads, and what he proclaims, until the client ends it.
func (s *electionServer) Observe(r *v3electionpb.LeaderRequest, stream grpc.ServerStreamingServer[v3electionpb.LeaderResponse]) error {
	prefix := contenderPrefix(r.Name)
	for ctx := stream.Context(); ; {
		header, leader, err := s.elected(ctx, prefix)
		if err == nil && leader != nil {
			err = s.follow(ctx, header, leader, stream.Send)
		}
		if err != nil {
			return rpcerr.ToStatus(err)
		}
	}
}

// elected returns who leads, and waits for the first who does. It may come back without one.
func (s *electionServer) elected(ctx context.Context, prefix []byte) (header *pb.ResponseHeader, leader *mvccpb.KeyValue, err error) {
	resp, err := s.oldest(ctx, prefix)
	if err != nil {
		return nil, nil, err
	}
	header = resp.Header
	if len(resp.Kvs) > 0 {
		return header, resp.Kvs[0], nil
	}
	watch := kv.WatchRequest{Key: prefix, RangeEnd: endOfPrefix(prefix), StartRevision: header.Revision + 1, NoDelete: true}
	err = s.watch(ctx, watch, func(e kv.WatchEvents) (bool, error) {
		if len(e.Events) == 0 {
			return true, nil
		}
		leader = e.Events[0].Kv
		header.Revision = leader.ModRevision
		return false, nil
	})
	return header, leader, err
}

// follow sends a leader, and each of its values, until its key is gone.
func (s *electionServer) follow(ctx context.Context, header *pb.ResponseHeader, leader *mvccpb.KeyValue, send func(*v3electionpb.LeaderResponse) error) error {
	if err := send(&v3electionpb.LeaderResponse{Header: header, Kv: leader}); err != nil {
		return err
	}
	return s.watch(ctx, kv.WatchRequest{Key: leader.Key, StartRevision: header.Revision + 1}, func(e kv.WatchEvents) (bool, error) {
		for _, event := range e.Events {
			if event.Type == mvccpb.Event_DELETE {
				return false, nil
			}
			now := s.store.Header()
			now.Revision = event.Kv.ModRevision
			if err := send(&v3electionpb.LeaderResponse{Header: now, Kv: event.Kv}); err != nil {
				return false, err
			}
		}
		return true, nil
	})
}
