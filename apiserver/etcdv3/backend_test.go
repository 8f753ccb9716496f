package etcdv3

import (
	"context"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore"
)

// localBackend is a Backend on a store without replication: every command is committed as soon as it is given.
type localBackend struct {
	store *kv.Store

	mu    sync.Mutex
	index uint64

	leader atomic.Uint64 // what Status answers
}

const localID = 7

func newLocalBackend(t testing.TB) *localBackend {
	t.Helper()
	store, err := kv.Open(kv.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	b := &localBackend{store: store}
	b.leader.Store(localID)
	return b
}

func (b *localBackend) apply(c kv.Command) (kv.Result, error) {
	if err := c.Validate(); err != nil {
		return kv.Result{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.index++
	results, err := b.store.Apply([]kv.Entry{{Index: b.index, Term: 1, Commands: []kv.Command{c}}})
	if err != nil {
		return kv.Result{}, err
	}
	r := results[0][0]
	return r, r.Err
}

func applied[T any](b *localBackend, c kv.Command) (T, error) {
	r, err := b.apply(c)
	if err != nil {
		var none T
		return none, err
	}
	h := r.Response.(interface{ GetHeader() *pb.ResponseHeader }).GetHeader()
	h.ClusterId, h.MemberId, h.RaftTerm = 1, localID, 1
	return r.Response.(T), nil
}

func (b *localBackend) Range(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	return b.store.Range(ctx, r)
}

func (b *localBackend) Put(_ context.Context, r *pb.PutRequest) (*pb.PutResponse, error) {
	return applied[*pb.PutResponse](b, kv.Command{Put: r})
}

func (b *localBackend) DeleteRange(_ context.Context, r *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error) {
	return applied[*pb.DeleteRangeResponse](b, kv.Command{DeleteRange: r})
}

func (b *localBackend) Txn(_ context.Context, r *pb.TxnRequest) (*pb.TxnResponse, error) {
	return applied[*pb.TxnResponse](b, kv.Command{Txn: r})
}

func (b *localBackend) Compact(_ context.Context, r *pb.CompactionRequest) (*pb.CompactionResponse, error) {
	return applied[*pb.CompactionResponse](b, kv.Command{Compact: r})
}

func (b *localBackend) LeaseGrant(_ context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	if r.ID == 0 {
		r.ID = b.store.ChooseLeaseID()
	}
	return applied[*pb.LeaseGrantResponse](b, kv.Command{LeaseGrant: r})
}

func (b *localBackend) LeaseRevoke(_ context.Context, r *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	return applied[*pb.LeaseRevokeResponse](b, kv.Command{LeaseRevoke: r})
}

func (b *localBackend) LeaseKeepAlive(_ context.Context, id int64) (int64, error) {
	ttl, ok := b.store.LeaseTTL(id)
	if !ok {
		return 0, kv.ErrLeaseNotFound
	}
	return ttl, nil
}

func (b *localBackend) LeaseTimeToLive(_ context.Context, r *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	ttl, ok := b.store.LeaseTTL(r.ID)
	if !ok {
		return nil, kv.ErrLeaseNotFound
	}
	resp := &pb.LeaseTimeToLiveResponse{Header: b.Header(), ID: r.ID, TTL: ttl, GrantedTTL: ttl}
	var err error
	if r.Keys {
		resp.Keys, err = b.store.LeaseKeys(r.ID)
	}
	return resp, err
}

func (b *localBackend) LeaseLeases(context.Context) (*pb.LeaseLeasesResponse, error) {
	return &pb.LeaseLeasesResponse{Header: b.Header(), Leases: b.store.Leases()}, nil
}

func (b *localBackend) RangeStream(ctx context.Context, r *pb.RangeRequest, chunkBytes int, send func(*pb.RangeResponse) error) error {
	chunks, err := kv.NewRangeChunks(r, chunkBytes)
	for err == nil && !chunks.Done() {
		var chunk *pb.RangeResponse
		if chunk, err = chunks.Next(ctx, b.store); err != nil {
			break
		}
		if h := chunk.Header; h != nil {
			h.ClusterId, h.MemberId, h.RaftTerm = 1, localID, 1
		}
		err = send(chunk)
	}
	return err
}

func (b *localBackend) NewWatchStream() *kv.WatchStream { return b.store.NewWatchStream() }

func (b *localBackend) ResumeWatchStream(context.Context, *kv.WatchStream) (*kv.WatchStream, error) {
	return nil, kv.ErrClosed // nothing takes the place of this store
}

func (b *localBackend) Header() *pb.ResponseHeader {
	return &pb.ResponseHeader{ClusterId: 1, MemberId: localID, RaftTerm: 1, Revision: b.store.Revision()}
}

func (b *localBackend) Members(context.Context) ([]*pb.Member, error) {
	return []*pb.Member{{ID: localID, Name: "a", PeerURLs: []string{"http://127.0.0.1:2380"}, ClientURLs: []string{"http://127.0.0.1:2379"}}}, nil
}

func (b *localBackend) MembersHere() []*pb.Member {
	members, _ := b.Members(context.Background())
	return members
}

// A store without replication has one member for good.
func (b *localBackend) ReserveMember(context.Context, []string, bool) (uint64, error) {
	return 0, raftstore.ErrUnsafe
}
func (b *localBackend) RemoveMember(context.Context, uint64) error { return raftstore.ErrUnsafe }
func (b *localBackend) UpdateMember(context.Context, uint64, []string) error {
	return kv.ErrMemberNotFound
}
func (b *localBackend) PromoteMember(context.Context, uint64) error { return kv.ErrMemberNotFound }
func (b *localBackend) MoveLeader(context.Context, uint64) error    { return raftstore.ErrBadTransferee }

func (b *localBackend) HashKV(ctx context.Context, revision int64) (kv.Hash, error) {
	return b.store.HashKV(ctx, revision)
}
func (b *localBackend) Hash(ctx context.Context) (kv.Hash, error) { return b.store.Hash(ctx) }
func (b *localBackend) Defragment(ctx context.Context) error      { return b.store.Defragment(ctx) }

func (b *localBackend) Downgrade(_ context.Context, r *pb.DowngradeRequest) (*pb.DowngradeResponse, error) {
	return applied[*pb.DowngradeResponse](b, kv.Command{Downgrade: r})
}

func (b *localBackend) DowngradeInfo() *pb.DowngradeInfo {
	return &pb.DowngradeInfo{TargetVersion: b.store.DowngradeTarget()}
}

func (b *localBackend) Status() raftstore.Status {
	m := b.store.Metrics()
	return raftstore.Status{ID: localID, Leader: b.leader.Load(), Term: 1, CommitIndex: m.AppliedIndex, AppliedIndex: m.AppliedIndex, DBSize: m.DiskBytes, DBSizeInUse: m.InUseBytes}
}

func (b *localBackend) HasLeader() bool { return b.leader.Load() != 0 }

func (b *localBackend) Alarm(_ context.Context, r *pb.AlarmRequest) (*pb.AlarmResponse, error) {
	if r.Action == pb.AlarmRequest_GET {
		return &pb.AlarmResponse{Header: b.Header(), Alarms: b.store.Alarms()}, nil
	}
	return applied[*pb.AlarmResponse](b, kv.Command{Alarm: r})
}

func (b *localBackend) Propose(_ context.Context, c kv.Command) (kv.Result, error) {
	if c.LeaseGrant != nil && c.LeaseGrant.ID == 0 {
		c.LeaseGrant.ID = b.store.ChooseLeaseID()
	}
	response, err := applied[proto.Message](b, c)
	return kv.Result{Response: response}, err
}

func (b *localBackend) Auth() *kv.AuthState { return b.store.Auth() }
func (b *localBackend) UseAuthToken(token string, ttl time.Duration) (string, bool) {
	return b.store.UseAuthToken(token, ttl)
}
func (b *localBackend) VisitLeaseKeys(id int64, visit func([]byte) error) error {
	return b.store.VisitLeaseKeys(id, visit)
}
func (b *localBackend) LinearizableRead(context.Context) error { return nil }

func (b *localBackend) ProposeAsync(_ context.Context, c kv.Command, done func(kv.Result, error)) {
	done(b.apply(c))
}

// withProposer is a Backend whose proposals go elsewhere.
type withProposer struct {
	*localBackend
	Proposer
}

func (b withProposer) ProposeAsync(ctx context.Context, c kv.Command, done func(kv.Result, error)) {
	b.Proposer.ProposeAsync(ctx, c, done)
}

func serveProposer(t testing.TB, b *localBackend, p Proposer) string {
	return serve(t, withProposer{b, p}, ServerConfig{}, Options{})
}

// serve starts a gRPC server for b on a loopback port, in plain text, and returns its address.
func serve(t testing.TB, b interface {
	Backend
	HasLeader() bool
}, config ServerConfig, options Options, more ...grpc.ServerOption) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	config.HasLeader = b.HasLeader
	srv := grpc.NewServer(append(ServerOptions(config), more...)...)
	Register(srv, b, options)
	served := make(chan struct{})
	go func() { defer close(served); _ = srv.Serve(l) }()
	t.Cleanup(func() { srv.Stop(); <-served })
	return l.Addr().String()
}

// connect opens etcd's own client to address.
func connect(t testing.TB, address string) *clientv3.Client {
	t.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{address}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// newClient is etcd's own client of a fresh store.
func newClient(t testing.TB) *clientv3.Client {
	t.Helper()
	return connect(t, serve(t, newLocalBackend(t), ServerConfig{}, Options{}))
}

// Backup sends something in place of a database.
func (b *localBackend) Backup(_ context.Context, format raftstore.BackupFormat) (*raftstore.Backup, error) {
	return raftstore.NewBackup(strings.NewReader(string(format)+strings.Repeat("x", 100_000)), int64(len(format))+100_000, "3.7.0"), nil
}
