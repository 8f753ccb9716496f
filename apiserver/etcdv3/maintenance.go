package etcdv3

import (
	"context"
	"log/slog"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"go.etcd.io/etcd/api/v3/version"
	"google.golang.org/grpc/status"

	"github.com/ctlplane/ctlplane/apiserver/etcdv3/rpcerr"
)

// Upkeep looks after a member.
type Upkeep interface {
	// MoveLeader has another member lead; only the leader can do that.
	MoveLeader(ctx context.Context, id uint64) error
	// Defragment rewrites the member's database while it goes on serving.
	Defragment(context.Context) error
	Downgrade(context.Context, *pb.DowngradeRequest) (*pb.DowngradeResponse, error)
	DowngradeInfo() *pb.DowngradeInfo
}

// maintenanceServer is etcd's Maintenance service.
type maintenanceServer struct {
	pb.UnimplementedMaintenanceServer
	store interface {
		Membership
		Headers
		Hashes
		Upkeep
		Backups
		Alarms
	}
	log *slog.Logger
}

// Status answers from this member alone, without asking the others. Its version is the one of etcd whose API this
// is: clients tell by it what they can ask for.
func (s *maintenanceServer) Status(context.Context, *pb.StatusRequest) (*pb.StatusResponse, error) {
	st := s.store.Status()
	resp := &pb.StatusResponse{
		Header: s.store.Header(), Version: version.Version, StorageVersion: storageVersion(),
		Leader: st.Leader, RaftTerm: st.Term, RaftIndex: st.CommitIndex, RaftAppliedIndex: st.AppliedIndex,
		DbSize: st.DBSize, DbSizeInUse: st.DBSizeInUse, IsLearner: st.IsLearner, DbSizeQuota: st.Quota,
		DowngradeInfo: s.store.DowngradeInfo(),
	}
	if st.Leader == 0 {
		resp.Errors = append(resp.Errors, status.Convert(rpctypes.ErrGRPCNoLeader).Message())
	}
	resp.Errors = append(resp.Errors, alarmTexts(st.Alarms)...)
	return resp, nil
}

// storageVersion is the version of etcd's whose data this member could take over, and hand back, by a snapshot.
func storageVersion() string { return version.Cluster(version.Version) + ".0" }

func (s *maintenanceServer) MoveLeader(ctx context.Context, r *pb.MoveLeaderRequest) (*pb.MoveLeaderResponse, error) {
	if err := s.store.MoveLeader(ctx, r.TargetID); err != nil {
		return nil, rpcerr.ToStatus(err)
	}
	return &pb.MoveLeaderResponse{Header: s.store.Header()}, nil
}

// Defragment returns when the space is free. Nobody waits for it but who asked. As etcd's, its answer has no header.
func (s *maintenanceServer) Defragment(ctx context.Context, _ *pb.DefragmentRequest) (*pb.DefragmentResponse, error) {
	before := s.store.Status().DBSize
	if err := s.store.Defragment(ctx); err != nil {
		return nil, rpcerr.ToStatus(err)
	}
	s.log.Info("the database was rewritten", "bytes before", before, "bytes after", s.store.Status().DBSize)
	return &pb.DefragmentResponse{}, nil
}

func (s *maintenanceServer) Downgrade(ctx context.Context, r *pb.DowngradeRequest) (*pb.DowngradeResponse, error) {
	return answer(s.store.Downgrade(ctx, r))
}
