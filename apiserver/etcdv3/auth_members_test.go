package etcdv3

import (
	"errors"
	"net"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/authpb"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/status"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/pki"
	"github.com/ctlplane/ctlplane/raftstore"
)

// Whichever member a client talks to, users are told apart there, and by what was changed at another a moment ago.
func TestMembersTellUsersApart(t *testing.T) {
	var addresses []string
	for _, m := range startMembers(t, 3) {
		addresses = append(addresses, serve(t, m, ServerConfig{}, cheapPasswords))
	}
	ctx := t.Context()
	get := &pb.RangeRequest{Key: []byte("r/1")}
	enableAuth(t, connect(t, addresses[0]))
	for _, address := range addresses {
		kvs := pb.NewKVClient(plainConn(t, address))
		for what, err := range map[string]error{
			"get": second(kvs.Range(ctx, get)), "put": second(kvs.Put(ctx, &pb.PutRequest{Key: []byte("w/1")})),
			"txn": second(kvs.Txn(ctx, &pb.TxnRequest{Success: []*pb.RequestOp{{Request: &pb.RequestOp_RequestRange{RequestRange: get}}}})),
		} {
			if status.Convert(err).Message() != kv.ErrUserEmpty.Error() {
				t.Errorf("nobody's %s: %v", what, err)
			}
		}
	}
	root := login(t, addresses[0], "root")
	for i, from := range addresses {
		alice, err := pb.NewAuthClient(plainConn(t, from)).Authenticate(ctx, &pb.AuthenticateRequest{Name: "alice", Password: "alice"})
		if err != nil {
			t.Fatal(err)
		}
		for j, at := range addresses {
			kvs, as := pb.NewKVClient(plainConn(t, at)), withToken(ctx, alice.Token)
			if _, err := kvs.Range(as, get); err != nil {
				t.Errorf("a token of member %d at %d: %v", i, j, err)
			}
			if _, err := root.UserRevokeRole(ctx, "alice", "some"); err != nil {
				t.Fatal(err)
			}
			for what, err := range map[string]error{
				"get": second(kvs.Range(as, get)), "put": second(kvs.Put(as, &pb.PutRequest{Key: []byte("w/1")})),
			} {
				if status.Convert(err).Message() != kv.ErrPermissionDenied.Error() {
					t.Errorf("%s at member %d without the right to: %v", what, j, err)
				}
			}
			if _, err := root.UserGrantRole(ctx, "alice", "some"); err != nil {
				t.Fatal(err)
			}
			for what, err := range map[string]error{
				"put": second(kvs.Put(as, &pb.PutRequest{Key: []byte("w/1")})), "get": second(kvs.Range(as, get)),
			} {
				if err != nil {
					t.Errorf("%s at member %d with the right to: %v", what, j, err)
				}
			}
		}
	}
}

// After a restart users and roles are there. Tokens are not: etcd's client asks for another by itself.
func TestUsersSurviveRestart(t *testing.T) {
	ca, err := pki.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	certPEM, keyPEM, err := ca.IssuePair(pki.PeerLeaf("m", "127.0.0.1"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	source, err := pki.NewSource(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	config := raftstore.Config{
		Identity: raftstore.Identity{ClusterID: 1, MemberID: 100, Name: "m", Creator: true}, DataDir: t.TempDir(), Source: source, CA: ca,
	}
	start := func() *servedMember {
		if config.Listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		config.Identity.PeerAddress = config.Listener.Addr().String()
		m, err := raftstore.Open(config)
		if err != nil {
			t.Fatal(err)
		}
		served := &servedMember{Member: m}
		t.Cleanup(func() { served.close(t) })
		served.address = serve(t, served, ServerConfig{}, cheapPasswords)
		until(t, "a leader", served.HasLeader)
		return served
	}
	m, ctx := start(), t.Context()
	enableAuth(t, connect(t, m.address))
	before, err := pb.NewAuthClient(plainConn(t, m.address)).Authenticate(ctx, &pb.AuthenticateRequest{Name: "alice", Password: "alice"})
	if err != nil {
		t.Fatal(err)
	}
	revision := m.Auth().Revision()
	m.close(t)
	m = start()
	if a := m.Auth(); !a.Enabled() || a.Revision() != revision {
		t.Errorf("enabled %v at revision %d, was %d", a.Enabled(), a.Revision(), revision)
	}
	_, err = pb.NewKVClient(plainConn(t, m.address)).Range(withToken(ctx, before.Token), &pb.RangeRequest{Key: []byte("r/1")})
	if status.Convert(err).Message() != kv.ErrInvalidAuthToken.Error() {
		t.Errorf("a token from before: %v", err)
	}
	alice := login(t, m.address, "alice")
	if _, err := alice.Get(ctx, "r/1"); err != nil {
		t.Error(err)
	}
	if _, err := alice.Get(ctx, "secret"); !errors.Is(err, rpctypes.ErrPermissionDenied) {
		t.Error(err)
	}
}

// TestReadsAreByOneState: what is written after a right was taken away is not read by it, nor what was deleted before it
// was granted, even where both are one entry of the log.
func TestReadsAreByOneState(t *testing.T) {
	b, _, _, alice := withAuth(t, cheapPasswords)
	ctx := t.Context()
	write := func(value string) kv.Command {
		return kv.Command{Put: &pb.PutRequest{Key: []byte("x"), Value: []byte(value)}}
	}
	grant := kv.Command{Auth: &pb.AuthRoleGrantPermissionRequest{
		Name: "some", Perm: &authpb.Permission{PermType: authpb.Permission_READ, Key: []byte("x")},
	}}
	revoke := kv.Command{Auth: &pb.AuthRoleRevokePermissionRequest{Role: "some", Key: []byte("x")}}
	// Each read races with one change and no more: the client logs in again after each, and would never be done with that.
	turns := make(chan struct{}, 1)
	var writer sync.WaitGroup
	writer.Go(func() {
		for open := true; ; open = !open {
			if _, more := <-turns; !more {
				return
			}
			if open {
				b.applyTogether(t, write("open"), grant)
			} else {
				b.applyTogether(t, revoke, write("hidden"))
			}
		}
	})
	defer writer.Wait()
	defer close(turns)
	seen := 0
	for range 2000 {
		turns <- struct{}{}
		resp, err := alice.Get(ctx, "x")
		if err != nil && !errors.Is(err, rpctypes.ErrPermissionDenied) && !errors.Is(err, rpctypes.ErrAuthOldRevision) {
			t.Fatal(err)
		}
		if err == nil && len(resp.Kvs) == 1 {
			seen++
			if string(resp.Kvs[0].Value) == "hidden" {
				t.Fatal("alice has read what is hidden from her")
			}
		}
	}
	if seen == 0 {
		t.Error("alice has read nothing at all")
	}
}

// applyTogether applies commands as one entry.
func (b *localBackend) applyTogether(t testing.TB, commands ...kv.Command) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.index++
	results, err := b.store.Apply([]kv.Entry{{Index: b.index, Term: 1, Commands: commands}})
	if err != nil {
		t.Error(err)
		return
	}
	for _, r := range results[0] {
		if r.Err != nil {
			t.Error(r.Err)
		}
	}
}
