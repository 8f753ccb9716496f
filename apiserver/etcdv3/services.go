// Package etcdv3 serves etcd's v3 gRPC API, as go.etcd.io/etcd/api/v3 defines it, on a member of the store, so that
// etcdctl and every etcd client work on ctlplane: KV, Watch, Lease, and what they ask of Cluster and
// Maintenance. What the store does not have yet is answered as unimplemented. Beside it is ctlplane's own write
// stream (api/writepb).
package etcdv3

import (
	"context"
	"log/slog"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/reflection"
	"k8s.io/utils/clock"

	"github.com/ctlplane/ctlplane/api/v3electionpb"
	"github.com/ctlplane/ctlplane/api/v3lockpb"
	"github.com/ctlplane/ctlplane/api/writepb"
	"github.com/ctlplane/ctlplane/apiserver/etcdv3/auth"
	"github.com/ctlplane/ctlplane/apiserver/etcdv3/watch"
	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore"
)

// KV reads and writes keys. Responses' headers are complete; errors are those that rpcerr knows.
type KV interface {
	Range(context.Context, *pb.RangeRequest) (*pb.RangeResponse, error)
	Put(context.Context, *pb.PutRequest) (*pb.PutResponse, error)
	DeleteRange(context.Context, *pb.DeleteRangeRequest) (*pb.DeleteRangeResponse, error)
	Txn(context.Context, *pb.TxnRequest) (*pb.TxnResponse, error)
	Compact(context.Context, *pb.CompactionRequest) (*pb.CompactionResponse, error)
	// RangeStream gives a range to send in chunks of about chunkBytes.
	RangeStream(ctx context.Context, r *pb.RangeRequest, chunkBytes int, send func(*pb.RangeResponse) error) error
}

// Leases grants, renews and revokes leases.
type Leases interface {
	LeaseGrant(context.Context, *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error)
	LeaseRevoke(context.Context, *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error)
	// LeaseKeepAlive renews a lease and returns its time to live in seconds.
	LeaseKeepAlive(ctx context.Context, id int64) (ttl int64, err error)
	LeaseTimeToLive(context.Context, *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error)
	LeaseLeases(context.Context) (*pb.LeaseLeasesResponse, error)
	// VisitLeaseKeys calls visit for each key that hangs on a lease, as this member has them, until visit returns an error,
	// which it returns.
	VisitLeaseKeys(id int64, visit func(key []byte) error) error
}

// Headers makes the headers of responses.
type Headers interface {
	// Header is the header of a response that is made now: who answers, at which revision of its own, in which term.
	Header() *pb.ResponseHeader
}

// Proposer takes writes without waiting for them.
type Proposer interface {
	// ProposeAsync has a command committed and applied, in the order of the calls, and calls done once with the outcome,
	// from any goroutine. It may block while too much is in flight.
	ProposeAsync(ctx context.Context, c kv.Command, done func(kv.Result, error))
}

// Backend is a member of the store.
type Backend interface {
	KV
	Leases
	watch.Store
	Membership
	MemberChanges
	Hashes
	Upkeep
	Backups
	Alarms
	Proposer
	auth.Backend
}

var _ Backend = (*raftstore.Member)(nil)

// Options are the settings of the services. The zero value is fit for use.
type Options struct {
	Logger *slog.Logger     // nil: nothing is logged
	Clock  clock.WithTicker // nil: the real one
	// MaxRequestBytes bounds one write, MaxTxnOps the operations of a transaction; 0 are etcd's defaults.
	MaxRequestBytes, MaxTxnOps int
	// WatchProgressInterval is how often a quiet watch that asked for it is told how far it is; 0 is etcd's default, and
	// less than 100 ms is 100 ms.
	WatchProgressInterval time.Duration
	// AuthToken is what users get for their passwords, the value of etcd's --auth-token: "simple", which empty is too, or
	// "jwt" with options.
	AuthToken string
	// AuthTokenTTL is how long a simple token is good for after its last use; 0 is auth.DefaultTokenTTL.
	AuthTokenTTL time.Duration
	// BcryptCost is the work for the hash of one password, as a power of two from 4 to 31; 0 is auth.DefaultBcryptCost.
	BcryptCost int
	// ClientCertAuth makes the common name of a client's certificate a user's name, for calls without a token.
	ClientCertAuth bool
	// AdminCertificates lets certificates of the cluster's administrators and masters do everything, as user root.
	AdminCertificates bool
}

// Validate tells what is wrong with the options. Register panics on options that are.
func (o Options) Validate() error {
	return o.auth().Validate()
}

// auth are those of the options that are about users.
func (o Options) auth() auth.Options {
	return auth.Options{
		Logger: o.Logger, Clock: o.Clock, Token: o.AuthToken, TokenTTL: o.AuthTokenTTL, BcryptCost: o.BcryptCost,
		ClientCertAuth: o.ClientCertAuth, AdminCertificates: o.AdminCertificates,
	}
}

// watch are those of the options that are about watches.
func (o Options) watch() watch.Options {
	return watch.Options{Logger: o.Logger, Clock: o.Clock, ProgressInterval: o.WatchProgressInterval, FragmentBytes: o.MaxRequestBytes}
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.MaxRequestBytes == 0 {
		o.MaxRequestBytes = DefaultMaxRequestBytes
	}
	if o.MaxTxnOps == 0 {
		o.MaxTxnOps = DefaultMaxTxnOps
	}
	return o
}

// Register adds etcd's services, gRPC health and the write stream over a member to srv, which should have been made with
// ServerOptions.
func Register(srv grpc.ServiceRegistrar, member Backend, o Options) {
	o = o.withDefaults()
	b := newAuthorized(member, o)
	if described, ok := srv.(reflection.GRPCServer); ok {
		reflection.Register(described)
	}
	srv = b.authorizer.Guard(srv)
	pb.RegisterKVServer(srv, &kvServer{store: b, maxBytes: o.MaxRequestBytes, maxTxnOps: o.MaxTxnOps})
	pb.RegisterWatchServer(srv, watch.NewServer(b, b.permitWatch, o.watch()))
	pb.RegisterLeaseServer(srv, &leaseServer{store: b})
	pb.RegisterClusterServer(srv, &clusterServer{store: b})
	pb.RegisterMaintenanceServer(srv, &maintenanceServer{store: b, log: o.Logger})
	pb.RegisterAuthServer(srv, auth.NewServer(b.authorizer, o.auth()))
	v3lockpb.RegisterLockServer(srv, &lockServer{sessions: sessions{b}})
	v3electionpb.RegisterElectionServer(srv, &electionServer{sessions: sessions{b}})
	healthpb.RegisterHealthServer(srv, health.NewServer())
	writepb.RegisterPipelineServer(srv, newPipelineServer(b, pipelineHeader(b), o.MaxRequestBytes))
}
