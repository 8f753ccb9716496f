package auth

import (
	"context"
	"fmt"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"

	"github.com/ctlplane/ctlplane/api/objectpb"
	"github.com/ctlplane/ctlplane/api/v3electionpb"
	"github.com/ctlplane/ctlplane/api/v3lockpb"
	"github.com/ctlplane/ctlplane/api/writepb"
)

// rule is who may call an RPC while users are told apart. With a check nil the call goes to its handler as it is. req is nil
// for one that opens a stream.
type rule struct {
	check func(a *Authorizer, ctx context.Context, req any) error
}

var (
	// public: nobody needs to say who he is.
	public = rule{}
	// inside: what is asked for decides, so the handler does, or the backend below it.
	inside = rule{}
	// byUser: for every user.
	byUser = rule{func(a *Authorizer, ctx context.Context, _ any) error { return a.user(ctx) }}
	// byAdmin: for users with the role root.
	byAdmin = rule{func(a *Authorizer, ctx context.Context, _ any) error { return a.admin(ctx) }}
	// byAlarm: whoever is a user may ask for the alarms; to raise one, or to take it back, is for administrators.
	byAlarm = rule{func(a *Authorizer, ctx context.Context, req any) error {
		if r, ok := req.(*pb.AlarmRequest); ok && r.GetAction() == pb.AlarmRequest_GET {
			return a.user(ctx)
		}
		return a.admin(ctx)
	}}
)

// rules has a rule for each RPC of the client port: see CheckRules. What has none is for administrators.
var rules = map[string]rule{
	pb.KV_Range_FullMethodName:       inside,
	pb.KV_RangeStream_FullMethodName: inside,
	pb.KV_Put_FullMethodName:         inside,
	pb.KV_DeleteRange_FullMethodName: inside,
	pb.KV_Txn_FullMethodName:         inside,
	pb.KV_Compact_FullMethodName:     byAdmin,

	pb.Watch_Watch_FullMethodName: inside,

	pb.Lease_LeaseGrant_FullMethodName:      inside,
	pb.Lease_LeaseRevoke_FullMethodName:     inside,
	pb.Lease_LeaseKeepAlive_FullMethodName:  inside,
	pb.Lease_LeaseTimeToLive_FullMethodName: inside,
	pb.Lease_LeaseLeases_FullMethodName:     inside,

	pb.Cluster_MemberAdd_FullMethodName:     byAdmin,
	pb.Cluster_MemberRemove_FullMethodName:  byAdmin,
	pb.Cluster_MemberUpdate_FullMethodName:  byAdmin,
	pb.Cluster_MemberList_FullMethodName:    byUser,
	pb.Cluster_MemberPromote_FullMethodName: byAdmin,

	pb.Maintenance_Alarm_FullMethodName:      byAlarm,
	pb.Maintenance_Status_FullMethodName:     byUser,
	pb.Maintenance_Defragment_FullMethodName: byAdmin,
	pb.Maintenance_Hash_FullMethodName:       byAdmin,
	pb.Maintenance_HashKV_FullMethodName:     byAdmin,
	pb.Maintenance_Snapshot_FullMethodName:   byAdmin,
	pb.Maintenance_MoveLeader_FullMethodName: byAdmin,
	pb.Maintenance_Downgrade_FullMethodName:  byAdmin,

	pb.Auth_AuthEnable_FullMethodName:           byAdmin,
	pb.Auth_AuthDisable_FullMethodName:          byAdmin,
	pb.Auth_AuthStatus_FullMethodName:           public,
	pb.Auth_Authenticate_FullMethodName:         public,
	pb.Auth_UserAdd_FullMethodName:              byAdmin,
	pb.Auth_UserGet_FullMethodName:              inside,
	pb.Auth_UserList_FullMethodName:             byAdmin,
	pb.Auth_UserDelete_FullMethodName:           byAdmin,
	pb.Auth_UserChangePassword_FullMethodName:   byAdmin,
	pb.Auth_UserGrantRole_FullMethodName:        byAdmin,
	pb.Auth_UserRevokeRole_FullMethodName:       byAdmin,
	pb.Auth_RoleAdd_FullMethodName:              byAdmin,
	pb.Auth_RoleGet_FullMethodName:              inside,
	pb.Auth_RoleList_FullMethodName:             byAdmin,
	pb.Auth_RoleDelete_FullMethodName:           byAdmin,
	pb.Auth_RoleGrantPermission_FullMethodName:  byAdmin,
	pb.Auth_RoleRevokePermission_FullMethodName: byAdmin,

	// Locks and elections are keys, which their caller reads and writes.
	v3lockpb.Lock_Lock_FullMethodName:             inside,
	v3lockpb.Lock_Unlock_FullMethodName:           inside,
	v3electionpb.Election_Campaign_FullMethodName: inside,
	v3electionpb.Election_Proclaim_FullMethodName: inside,
	v3electionpb.Election_Leader_FullMethodName:   inside,
	v3electionpb.Election_Observe_FullMethodName:  inside,
	v3electionpb.Election_Resign_FullMethodName:   inside,

	"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo":      public,
	"/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo": public,

	writepb.Pipeline_Write_FullMethodName: inside,

	"/grpc.health.v1.Health/Check": public,
	"/grpc.health.v1.Health/List":  public,
	"/grpc.health.v1.Health/Watch": public,

	// Objects are for the users of Kubernetes, whom their service tells apart by itself.
	objectpb.Objects_Get_FullMethodName:    inside,
	objectpb.Objects_List_FullMethodName:   inside,
	objectpb.Objects_Watch_FullMethodName:  inside,
	objectpb.Objects_Create_FullMethodName: inside,
	objectpb.Objects_Update_FullMethodName: inside,
	objectpb.Objects_Patch_FullMethodName:  inside,
	objectpb.Objects_Delete_FullMethodName: inside,
}

// CheckRules fails if a server has an RPC that nobody has decided on who may call it.
func CheckRules(srv *grpc.Server) error {
	for service, info := range srv.GetServiceInfo() {
		for _, m := range info.Methods {
			if name := "/" + service + "/" + m.Name; !hasRule(name) {
				return fmt.Errorf("%s has no row in the table of who may call what", name)
			}
		}
	}
	return nil
}

func hasRule(fullMethod string) bool {
	_, ok := rules[fullMethod]
	return ok
}

// ruleFor returns an RPC's rule.
func ruleFor(fullMethod string) rule {
	if r, ok := rules[fullMethod]; ok {
		return r
	}
	return byAdmin
}
