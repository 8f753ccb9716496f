package differential

import (
	"context"
	"fmt"
	"net"
	"os"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"

	"github.com/ctlplane/ctlplane/apiserver/etcdv3"
	"github.com/ctlplane/ctlplane/bench/freeport"
	"github.com/ctlplane/ctlplane/pki"
	"github.com/ctlplane/ctlplane/raftstore"
	"github.com/ctlplane/ctlplane/test/realetcd"
)

// patience bounds each single wait.
const patience = 30 * time.Second

func TestMain(m *testing.M) { os.Exit(realetcd.TestMain(m)) }

// system is one of the two that are compared, as its clients see it.
type system struct {
	name        string
	kv          pb.KVClient
	lease       pb.LeaseClient
	watch       pb.WatchClient
	cluster     pb.ClusterClient
	maintenance pb.MaintenanceClient
}

// systems are the two, each fresh.
func systems(t *testing.T) (theirs, ours *system) {
	t.Helper()
	return connect(t, "etcd", startEtcd(t)), connect(t, "ctlplane", startOurs(t))
}

func connect(t *testing.T, name, address string) *system {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	s := &system{
		name: name, kv: pb.NewKVClient(conn), lease: pb.NewLeaseClient(conn), watch: pb.NewWatchClient(conn),
		cluster: pb.NewClusterClient(conn), maintenance: pb.NewMaintenanceClient(conn),
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if _, err := s.kv.Range(ctx, &pb.RangeRequest{Key: []byte("k")}, grpc.WaitForReady(true)); err != nil {
		t.Fatalf("%s does not answer: %v", name, err)
	}
	return s
}

// startEtcd starts etcd, and returns where it serves clients.
func startEtcd(t *testing.T) string {
	t.Helper()
	client := freeAddress(t)
	realetcd.Start(t, realetcd.URLs("default", "http", client, freeAddress(t))...)
	return client
}

func freeAddress(t *testing.T) string {
	t.Helper()
	addresses, err := freeport.Addresses(1)
	if err != nil {
		t.Fatal(err)
	}
	return addresses[0]
}

// startOurs starts a member of the store in this process, and returns where it serves clients.
func startOurs(t *testing.T) string {
	t.Helper()
	ca, err := pki.NewCA("differential", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	certPEM, keyPEM, err := ca.IssuePair(pki.PeerLeaf("default", "127.0.0.1"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	source, err := pki.NewSource(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	peer, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	member, err := raftstore.Open(raftstore.Config{
		Identity: raftstore.Identity{ClusterID: 1, MemberID: 1, Name: "default", PeerAddress: peer.Addr().String(), Creator: true},
		DataDir:  t.TempDir(), Listener: peer, Source: source, CA: ca,
	})
	if err != nil {
		t.Fatal(err)
	}
	client, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(etcdv3.ServerOptions(etcdv3.ServerConfig{IsLearner: member.IsLearner})...)
	etcdv3.Register(server, member, etcdv3.Options{})
	served := make(chan struct{})
	go func() { defer close(served); _ = server.Serve(client) }()
	t.Cleanup(func() {
		server.Stop()
		<-served
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := member.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return client.Addr().String()
}

// do sends a request to the RPC that takes it.
func (s *system) do(ctx context.Context, request proto.Message) (proto.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	switch r := request.(type) {
	case *pb.PutRequest:
		return s.kv.Put(ctx, r)
	case *pb.RangeRequest:
		return s.kv.Range(ctx, r)
	case *pb.DeleteRangeRequest:
		return s.kv.DeleteRange(ctx, r)
	case *pb.TxnRequest:
		return s.kv.Txn(ctx, r)
	case *pb.CompactionRequest:
		return s.kv.Compact(ctx, r)
	case *pb.LeaseGrantRequest:
		return s.lease.LeaseGrant(ctx, r)
	case *pb.LeaseRevokeRequest:
		return s.lease.LeaseRevoke(ctx, r)
	case *pb.LeaseTimeToLiveRequest:
		return s.lease.LeaseTimeToLive(ctx, r)
	case *pb.LeaseLeasesRequest:
		return s.lease.LeaseLeases(ctx, r)
	case *pb.LeaseKeepAliveRequest:
		return s.keepAlive(ctx, r)
	case *pb.HashKVRequest:
		return s.maintenance.HashKV(ctx, r)
	case *pb.DowngradeRequest:
		return s.maintenance.Downgrade(ctx, r)
	case *pb.MoveLeaderRequest:
		return s.maintenance.MoveLeader(ctx, r)
	case *pb.MemberAddRequest:
		return s.cluster.MemberAdd(ctx, r)
	case *pb.MemberRemoveRequest:
		return s.cluster.MemberRemove(ctx, r)
	case *pb.MemberUpdateRequest:
		return s.cluster.MemberUpdate(ctx, r)
	case *pb.MemberPromoteRequest:
		return s.cluster.MemberPromote(ctx, r)
	}
	panic(fmt.Sprintf("no RPC takes %T", request))
}

func (s *system) keepAlive(ctx context.Context, r *pb.LeaseKeepAliveRequest) (*pb.LeaseKeepAliveResponse, error) {
	stream, err := s.lease.LeaseKeepAlive(ctx)
	if err != nil {
		return nil, err
	}
	if err := stream.Send(r); err != nil {
		return nil, err
	}
	response, err := stream.Recv()
	_ = stream.CloseSend()
	return response, err
}
