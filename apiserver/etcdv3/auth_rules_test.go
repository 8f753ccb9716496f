package etcdv3

import (
	"context"
	"io"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/ctlplane/ctlplane/api/objectpb"
	"github.com/ctlplane/ctlplane/api/v3electionpb"
	"github.com/ctlplane/ctlplane/api/v3lockpb"
	"github.com/ctlplane/ctlplane/api/writepb"
	"github.com/ctlplane/ctlplane/apiserver/etcdv3/auth"
	"github.com/ctlplane/ctlplane/kv"
)

// TestEveryRPCHasARule fails on an RPC that nobody has decided on. It needs a row in the rules of package auth, and one that is inside needs
// a check, in authorized or in its handler.
func TestEveryRPCHasARule(t *testing.T) {
	srv := grpc.NewServer()
	Register(srv, newLocalBackend(t), Options{})
	objectpb.RegisterObjectsServer(srv, objectpb.UnimplementedObjectsServer{})
	if err := auth.CheckRules(srv); err != nil {
		t.Error(err)
	}
	srv.RegisterService(&grpc.ServiceDesc{ServiceName: "new", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{MethodName: "RPC"}}}, struct{}{})
	if err := auth.CheckRules(srv); err == nil || !strings.Contains(err.Error(), "/new/RPC") {
		t.Errorf("an RPC without a rule: %v", err)
	}
}

// An RPC without a rule is for administrators.
func TestNoRuleIsNoEntry(t *testing.T) {
	b := newLocalBackend(t)
	enableAuth(t, connect(t, serve(t, b, ServerConfig{}, cheapPasswords)))
	called := false
	handlers := recordingRegistrar{}
	newAuthorized(b, cheapPasswords.withDefaults()).authorizer.Guard(handlers).RegisterService(&grpc.ServiceDesc{ServiceName: "new", Methods: []grpc.MethodDesc{{
		MethodName: "RPC",
		Handler: func(srv any, ctx context.Context, _ func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) {
			return interceptor(ctx, nil, nil, func(context.Context, any) (any, error) { called = true; return nil, nil })
		},
	}}}, nil)
	if _, err := handlers["RPC"](nil, t.Context(), nil, nil); status.Convert(err).Message() != kv.ErrUserEmpty.Error() || called {
		t.Errorf("called %v: %v", called, err)
	}
}

// recordingRegistrar keeps what is registered.
type recordingRegistrar map[string]grpc.MethodHandler

func (r recordingRegistrar) RegisterService(d *grpc.ServiceDesc, _ any) {
	for _, m := range d.Methods {
		r[m.MethodName] = m.Handler
	}
}

// publicCalls are for everybody.
var publicCalls = []string{
	pb.Auth_AuthStatus_FullMethodName, pb.Auth_Authenticate_FullMethodName,
	"/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/List", "/grpc.health.v1.Health/Watch",
	"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo", "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
}

// TestCVE202633413NobodyGetsIn calls every RPC without credentials: where users are told apart only what is public may answer
// with anything but a refusal.
func TestCVE202633413NobodyGetsIn(t *testing.T) {
	b := newLocalBackend(t)
	address := serve(t, b, ServerConfig{}, cheapPasswords)
	enableAuth(t, connect(t, address))
	revision := b.store.Revision()
	eachRPC(t, b, func(name string, m grpc.MethodInfo) {
		if slices.Contains(publicCalls, name) {
			return
		}
		if err := callPlainly(t, address, name, m); status.Code(err) != codes.InvalidArgument || status.Convert(err).Message() != kv.ErrUserEmpty.Error() {
			t.Errorf("%s without a user: %v", name, err)
		}
	})
	if b.store.Revision() != revision {
		t.Error("something was changed")
	}
}

func eachRPC(t *testing.T, b Backend, visit func(fullMethod string, m grpc.MethodInfo)) {
	srv := grpc.NewServer()
	Register(srv, b, Options{})
	for service, info := range srv.GetServiceInfo() {
		for _, m := range info.Methods {
			visit("/"+service+"/"+m.Name, m)
		}
	}
}

// callPlainly calls an RPC without credentials, and returns the error that it answers, be it in a message.
func callPlainly(t *testing.T, address, name string, m grpc.MethodInfo) error {
	t.Helper()
	stream, err := plainConn(t, address).NewStream(t.Context(), &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, name)
	if err != nil {
		t.Fatal(err)
	}
	request, answer := callMessages(name)
	if err := stream.SendMsg(request); err != nil && err != io.EOF {
		t.Fatal(err)
	}
	if err := stream.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := stream.RecvMsg(answer); err != nil {
		return err
	}
	switch a := answer.(type) {
	case *pb.WatchResponse:
		if a.Created && a.Canceled && a.CancelReason == rpctypes.ErrGRPCUserEmpty.Error() {
			return rpctypes.ErrGRPCUserEmpty
		}
	case *writepb.ResultBatch:
		return status.Error(codes.Code(a.Results[0].Code), a.Results[0].Message)
	}
	return nil
}

// plainConn is a connection without the habit of etcd's client to try again.
func plainConn(t testing.TB, address string) *grpc.ClientConn {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// callMessages are a valid request for an RPC, and an empty answer.
func callMessages(name string) (request, answer proto.Message) {
	key := []byte("secret")
	switch name {
	case pb.KV_Range_FullMethodName, pb.KV_RangeStream_FullMethodName:
		return &pb.RangeRequest{Key: key}, &emptypb.Empty{}
	case pb.KV_Put_FullMethodName:
		return &pb.PutRequest{Key: key}, &emptypb.Empty{}
	case pb.KV_DeleteRange_FullMethodName:
		return &pb.DeleteRangeRequest{Key: key}, &emptypb.Empty{}
	case pb.Auth_UserAdd_FullMethodName:
		return &pb.AuthUserAddRequest{Name: "mallory", Password: "x"}, &emptypb.Empty{}
	case pb.Auth_RoleAdd_FullMethodName:
		return &pb.AuthRoleAddRequest{Name: "all"}, &emptypb.Empty{}
	case v3lockpb.Lock_Unlock_FullMethodName:
		return &v3lockpb.UnlockRequest{Key: key}, &emptypb.Empty{}
	case v3electionpb.Election_Proclaim_FullMethodName:
		return &v3electionpb.ProclaimRequest{Leader: &v3electionpb.LeaderKey{Name: key, Key: key, Rev: 1}}, &emptypb.Empty{}
	case v3electionpb.Election_Resign_FullMethodName:
		return &v3electionpb.ResignRequest{Leader: &v3electionpb.LeaderKey{Name: key, Key: key, Rev: 1}}, &emptypb.Empty{}
	case pb.Watch_Watch_FullMethodName:
		return &pb.WatchRequest{RequestUnion: &pb.WatchRequest_CreateRequest{CreateRequest: &pb.WatchCreateRequest{Key: key}}}, &pb.WatchResponse{}
	case writepb.Pipeline_Write_FullMethodName:
		return &writepb.WriteBatch{Ops: []*writepb.WriteOp{{Id: 1, Key: key}}}, &writepb.ResultBatch{}
	}
	return &emptypb.Empty{}, &emptypb.Empty{} // an empty one keeps what it does not know
}

// TestBackendIsAuthorized fails on a method of Backend that is neither overridden by authorized, nor listed here as one that
// needs no check of its own.
func TestBackendIsAuthorized(t *testing.T) {
	const byRule, forWatch, forUsers, harmless = "only called by what has a rule", "asked for a watch", "for telling users apart", "tells nothing"
	free := map[string]string{
		"Compact": byRule, "MoveLeader": byRule, "HashKV": byRule, "Hash": byRule, "Defragment": byRule, "Downgrade": byRule,
		"ReserveMember": byRule, "RemoveMember": byRule, "UpdateMember": byRule, "PromoteMember": byRule, "Alarm": byRule,
		"Members": byRule, "MembersHere": byRule, "Status": byRule, "Backup": byRule, "DowngradeInfo": byRule,
		"NewWatchStream": forWatch, "ResumeWatchStream": forWatch,
		"Auth": forUsers, "UseAuthToken": forUsers, "VisitLeaseKeys": forUsers,
		"Header": harmless, "LinearizableRead": harmless,
	}
	own := reflect.TypeFor[*authorized]()
	for i := range reflect.TypeFor[Backend]().NumMethod() {
		name := reflect.TypeFor[Backend]().Method(i).Name
		m, _ := own.MethodByName(name)
		file, _ := runtime.FuncForPC(m.Func.Pointer()).FileLine(m.Func.Pointer())
		_, listed := free[name]
		if overridden := file != "<autogenerated>"; listed == overridden {
			t.Errorf("%s: overridden %v, listed %v: it must be one of them", name, overridden, listed)
		}
	}
}
