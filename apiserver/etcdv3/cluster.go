package etcdv3

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/apiserver/etcdv3/rpcerr"
	"github.com/ctlplane/ctlplane/raftstore"
)

// Membership tells who is in the cluster and how this member is.
type Membership interface {
	// Members lists the members, linearizably; MembersHere as this one knows them.
	Members(context.Context) ([]*pb.Member, error)
	MembersHere() []*pb.Member
	Status() raftstore.Status
}

// MemberChanges changes who is in the cluster. Errors are those that rpcerr knows.
type MemberChanges interface {
	// ReserveMember adds a member that has yet to be started, and returns its id.
	ReserveMember(ctx context.Context, peerURLs []string, learner bool) (id uint64, err error)
	RemoveMember(ctx context.Context, id uint64) error
	UpdateMember(ctx context.Context, id uint64, peerURLs []string) error
	PromoteMember(ctx context.Context, id uint64) error
}

// clusterServer is etcd's Cluster service.
type clusterServer struct {
	pb.UnimplementedClusterServer
	store interface {
		Membership
		MemberChanges
		Headers
	}
}

func (s *clusterServer) MemberAdd(ctx context.Context, r *pb.MemberAddRequest) (*pb.MemberAddResponse, error) {
	id, err := s.store.ReserveMember(ctx, r.PeerURLs, r.IsLearner)
	if err != nil {
		return nil, rpcerr.ToStatus(err)
	}
	return &pb.MemberAddResponse{
		Header:  s.header(),
		Member:  &pb.Member{ID: id, PeerURLs: r.PeerURLs, IsLearner: r.IsLearner},
		Members: s.after(ctx),
	}, nil
}

func (s *clusterServer) MemberRemove(ctx context.Context, r *pb.MemberRemoveRequest) (*pb.MemberRemoveResponse, error) {
	if err := s.store.RemoveMember(ctx, r.ID); err != nil {
		return nil, rpcerr.ToStatus(err)
	}
	var left []*pb.Member
	if r.ID == s.store.Status().ID {
		left = s.store.MembersHere() // the others don't talk to it any more
	} else {
		left = s.after(ctx)
	}
	resp := &pb.MemberRemoveResponse{Header: s.header()}
	for _, member := range left {
		if member.ID != r.ID {
			resp.Members = append(resp.Members, member)
		}
	}
	return resp, nil
}

func (s *clusterServer) MemberUpdate(ctx context.Context, r *pb.MemberUpdateRequest) (*pb.MemberUpdateResponse, error) {
	if err := s.store.UpdateMember(ctx, r.ID, r.PeerURLs); err != nil {
		return nil, rpcerr.ToStatus(err)
	}
	return &pb.MemberUpdateResponse{Header: s.header(), Members: s.after(ctx)}, nil
}

func (s *clusterServer) MemberPromote(ctx context.Context, r *pb.MemberPromoteRequest) (*pb.MemberPromoteResponse, error) {
	if err := s.store.PromoteMember(ctx, r.ID); err != nil {
		return nil, rpcerr.ToStatus(err)
	}
	return &pb.MemberPromoteResponse{Header: s.header(), Members: s.after(ctx)}, nil
}

func (s *clusterServer) MemberList(ctx context.Context, r *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	if !r.Linearizable {
		return &pb.MemberListResponse{Header: s.header(), Members: s.store.MembersHere()}, nil
	}
	members, err := s.store.Members(ctx)
	if err != nil {
		return nil, rpcerr.ToStatus(err)
	}
	return &pb.MemberListResponse{Header: s.header(), Members: members}, nil
}

// after lists the members after a change. The change was made, whatever becomes of the question.
func (s *clusterServer) after(ctx context.Context) []*pb.Member {
	if members, err := s.store.Members(ctx); err == nil {
		return members
	}
	return s.store.MembersHere()
}

// header has no revision in this service, as with etcd.
func (s *clusterServer) header() *pb.ResponseHeader {
	h := s.store.Header()
	h.Revision = 0
	return h
}
