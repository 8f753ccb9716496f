package etcdv3

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/api/v3/version"
	"google.golang.org/grpc/status"
)

// clusterServer is etcd's Cluster service, so far without changes of membership.
type clusterServer struct {
	pb.UnimplementedClusterServer
	store interface {
		Membership
		Watches
	}
}

func (s *clusterServer) MemberList(ctx context.Context, _ *pb.MemberListRequest) (*pb.MemberListResponse, error) {
	members, err := s.store.Members(ctx)
	if err != nil {
		return nil, toStatus(err)
	}
	return &pb.MemberListResponse{Header: s.store.Header(), Members: members}, nil
}

// maintenanceServer is etcd's Maintenance service, so far the member's status alone.
type maintenanceServer struct {
	pb.UnimplementedMaintenanceServer
	store interface {
		Membership
		Watches
	}
}

// Status answers from this member alone, without asking the others. Its version is the one of etcd whose API this
// is: clients tell by it what they can ask for.
func (s *maintenanceServer) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	st := s.store.Status()
	resp := &pb.StatusResponse{
		Header: s.store.Header(), Version: version.Version, StorageVersion: version.APIVersion,
		Leader: st.Leader, RaftTerm: st.Term, RaftIndex: st.CommitIndex, RaftAppliedIndex: st.AppliedIndex,
		DbSize: st.DBSize, DbSizeInUse: st.DBSizeInUse, IsLearner: st.IsLearner,
	}
	if st.Leader == 0 {
		resp.Errors = append(resp.Errors, status.Convert(rpctypes.ErrGRPCNoLeader).Message())
	}
	return resp, nil
}

// Alarm lists the alarms that are raised, of which the store has none; `etcdctl endpoint health` asks for them.
func (s *maintenanceServer) Alarm(ctx context.Context, r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	if r.Action != pb.AlarmRequest_GET {
		return s.UnimplementedMaintenanceServer.Alarm(ctx, r)
	}
	return &pb.AlarmResponse{Header: s.store.Header()}, nil
}
