package etcdv3

import (
	"context"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/ctlplane/ctlplane/api/writepb"
	"github.com/ctlplane/ctlplane/apiserver/etcdv3/auth"
	"github.com/ctlplane/ctlplane/kv"
)

// certificateClient is a connection with a certificate of this name and organization.
func (a *authority) certificateClient(address, name, organization string) *grpc.ClientConn {
	a.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(credentials.NewTLS(a.config(name, organization))))
	if err != nil {
		a.Fatal(err)
	}
	a.Cleanup(func() { _ = conn.Close() })
	return conn
}

// putSays puts a key, and returns what a refusal says.
func putSays(ctx context.Context, conn *grpc.ClientConn, key string) string {
	_, err := pb.NewKVClient(conn).Put(ctx, &pb.PutRequest{Key: []byte(key)})
	return status.Convert(err).Message()
}

func TestCommonNamesAreUsers(t *testing.T) {
	ca, b, ctx := newAuthority(t), newLocalBackend(t), t.Context()
	enableAuth(t, connect(t, serve(t, b, ServerConfig{}, cheapPasswords)))
	options := cheapPasswords
	options.ClientCertAuth = true
	creds := grpc.Creds(credentials.NewTLS(ca.config("server", "")))
	address := serve(t, b, ServerConfig{}, options, creds)
	deaf := serve(t, b, ServerConfig{}, cheapPasswords, creds)

	alice := ca.certificateClient(address, "alice", "")
	overGateway := metadata.AppendToOutgoingContext(ctx, "grpcgateway-accept", "application/json")
	rootToken, err := pb.NewAuthClient(alice).Authenticate(ctx, &pb.AuthenticateRequest{Name: "root", Password: "root"})
	if err != nil {
		t.Fatal(err)
	}
	denied, nobody := kv.ErrPermissionDenied.Error(), kv.ErrUserEmpty.Error()
	for what, c := range map[string]struct{ got, want string }{
		"alice":                   {putSays(ctx, alice, "w/1"), ""},
		"alice, not hers":         {putSays(ctx, alice, "secret"), denied},
		"alice with root's token": {putSays(withToken(ctx, rootToken.Token), alice, "secret"), ""},
		"alice with a bad token":  {putSays(withToken(ctx, "bad"), alice, "w/1"), kv.ErrInvalidAuthToken.Error()},
		"over the gateway":        {putSays(overGateway, alice, "w/1"), nobody},
		"root":                    {putSays(ctx, ca.certificateClient(address, "root", ""), "secret"), ""},
		"unknown":                 {putSays(ctx, ca.certificateClient(address, "eve", ""), "w/1"), denied},
		"without a name":          {putSays(ctx, ca.certificateClient(address, "", ""), "w/1"), nobody},
		"masters mean nothing":    {putSays(ctx, ca.certificateClient(address, "", "system:masters"), "w/1"), nobody},
		"names mean nothing":      {putSays(ctx, ca.certificateClient(deaf, "alice", ""), "w/1"), nobody},
	} {
		if c.got != c.want {
			t.Errorf("%s: %q, want %q", what, c.got, c.want)
		}
	}
}

// On the port of a whole cluster its administrators may do everything, and the others get no nearer than before.
func TestClusterAdministratorsMayDoEverything(t *testing.T) {
	ca, b, ctx := newAuthority(t), newLocalBackend(t), t.Context()
	enableAuth(t, connect(t, serve(t, b, ServerConfig{}, cheapPasswords)))
	options := cheapPasswords
	options.AdminCertificates = true
	address := serve(t, b, ServerConfig{Allow: auth.AllowByCertificate}, options, grpc.Creds(credentials.NewTLS(ca.config("m", "ctlplane:peers"))))
	for _, organization := range []string{"system:masters", "ctlplane:peers"} {
		conn := ca.certificateClient(address, "somebody", organization)
		if got := putSays(ctx, conn, "secret"); got != "" {
			t.Errorf("%s: %s", organization, got)
		}
		if _, err := pb.NewAuthClient(conn).UserList(ctx, &pb.AuthUserListRequest{}); err != nil {
			t.Errorf("%s: %v", organization, err)
		}
		if got := putSays(withToken(ctx, aliceToken(t, conn)), conn, "secret"); got != kv.ErrPermissionDenied.Error() {
			t.Errorf("%s as alice: %q", organization, got)
		}
	}
	node := ca.certificateClient(address, "root", "system:nodes")
	for what, call := range map[string]context.Context{"a node": ctx, "a node with a token": withToken(ctx, aliceToken(t, ca.certificateClient(address, "a", "system:masters")))} {
		if got := putSays(call, node, "w/1"); got == "" {
			t.Errorf("%s may put", what)
		}
	}
}

func aliceToken(t testing.TB, conn *grpc.ClientConn) string {
	t.Helper()
	resp, err := pb.NewAuthClient(conn).Authenticate(t.Context(), &pb.AuthenticateRequest{Name: "alice", Password: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	return resp.Token
}

// Each write of a stream is permitted by itself.
func TestRightsOfWriteStreams(t *testing.T) {
	_, address, root, _ := withAuth(t, cheapPasswords)
	conn := plainConn(t, address)
	stream, err := writepb.NewPipelineClient(conn).Write(withToken(t.Context(), aliceToken(t, conn)))
	if err != nil {
		t.Fatal(err)
	}
	write := func(op *writepb.WriteOp, want string) {
		t.Helper()
		if err := stream.Send(&writepb.WriteBatch{Ops: []*writepb.WriteOp{op}}); err != nil {
			t.Fatal(err)
		}
		batch, err := stream.Recv()
		if err != nil || len(batch.Results) != 1 || batch.Results[0].Message != want {
			t.Errorf("%v: %v, %v", op, batch, err)
		}
	}
	denied := kv.ErrPermissionDenied.Error()
	write(&writepb.WriteOp{Key: []byte("w/1")}, "")
	write(&writepb.WriteOp{Key: []byte("secret")}, denied)
	write(&writepb.WriteOp{Key: []byte("secret"), Delete: true}, denied)
	if _, err := root.UserRevokeRole(t.Context(), "alice", "some"); err != nil {
		t.Fatal(err)
	}
	write(&writepb.WriteOp{Key: []byte("w/1")}, denied)
	if _, err := root.UserDelete(t.Context(), "alice"); err != nil {
		t.Fatal(err)
	}
	write(&writepb.WriteOp{Key: []byte("w/1")}, kv.ErrInvalidAuthToken.Error())
}
