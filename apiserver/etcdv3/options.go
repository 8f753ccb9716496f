package etcdv3

import (
	"cmp"
	"context"
	"log/slog"
	"math"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/keepalive"
	"k8s.io/utils/clock"

	"github.com/ctlplane/ctlplane/supervise"
)

// Allow decides whether a call may be made: nil, or an error with a gRPC status. fullMethod is "/package.Service/Method".
type Allow func(ctx context.Context, fullMethod string) error

// ServerConfig is what a gRPC server for the client port needs to know.
type ServerConfig struct {
	// Allow is asked before every call; nil lets all of them through, which is for a port in plain text.
	Allow Allow
	// HasLeader tells whether this member knows a leader. Nil: calls that require a leader are not checked.
	HasLeader func() bool
	// IsLearner tells whether this member is a learner, which serves next to nothing. Nil: it never is.
	IsLearner func() bool
	// MaxRequestBytes bounds one write, and so what is received at once; MaxConcurrentStreams bounds the calls on one
	// connection. 0 are etcd's defaults.
	MaxRequestBytes      int
	MaxConcurrentStreams uint32
	// KeepaliveMinTime is how often a client may ping at most. KeepaliveInterval is how often a quiet one is pinged, and
	// KeepaliveTimeout how long it may take to answer. 0 are etcd's defaults; an interval below 0 pings nobody.
	KeepaliveMinTime, KeepaliveInterval, KeepaliveTimeout time.Duration
	// ConnectionAge is when a client is asked to make a new connection, on which it shows the certificate that it has by
	// then. Calls and streams that have begun go on on the old one. 0: never.
	ConnectionAge time.Duration
	// SlowCall is how long a call with one request and one answer may take before Logger is told; 0: as long as it likes.
	SlowCall time.Duration
	Logger   *slog.Logger // nil: nothing is logged
	// Clock is for looking after the leader, and for SlowCall; nil is the real one.
	Clock clock.WithTicker
}

func (c ServerConfig) withDefaults() ServerConfig {
	if c.MaxRequestBytes == 0 {
		c.MaxRequestBytes = DefaultMaxRequestBytes
	}
	if c.MaxConcurrentStreams == 0 {
		c.MaxConcurrentStreams = DefaultMaxConcurrentStreams
	}
	c.KeepaliveMinTime = cmp.Or(c.KeepaliveMinTime, 5*time.Second)
	c.KeepaliveInterval = cmp.Or(c.KeepaliveInterval, 2*time.Hour)
	c.KeepaliveTimeout = cmp.Or(c.KeepaliveTimeout, 20*time.Second)
	if c.KeepaliveInterval < 0 {
		c.KeepaliveInterval = math.MaxInt64
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	return c
}

// Settings of the connections, in bytes. Windows are larger than gRPC's 64 KiB so that a stream of writes is not stopped for
// a round trip; buffers so that the many small messages of one commit leave in few system calls.
const (
	streamWindow     = 4 << 20
	connectionWindow = 16 << 20
	socketBuffer     = 64 << 10
)

// streamWorkers are goroutines that stay and take calls, in place of a new one a call, whose stack has to grow each time:
// measured with 1000 writers it saves a seventh of the leader's time. Calls beyond them get a goroutine of their own.
const streamWorkers = 1024

// ServerOptions are the options for a gRPC server that Register is called on: limits, buffers, who may call what, and that a
// panic is the end of a call alone.
// Credentials are the caller's to add.
func ServerOptions(c ServerConfig) []grpc.ServerOption {
	c = c.withDefaults()
	options := []grpc.ServerOption{
		grpc.ForceServerCodecV2(newCodec()),
		grpc.MaxRecvMsgSize(c.MaxRequestBytes + requestOverhead),
		grpc.MaxSendMsgSize(math.MaxInt32), // what is stored can also be read
		grpc.MaxConcurrentStreams(c.MaxConcurrentStreams),
		grpc.InitialWindowSize(streamWindow),
		grpc.InitialConnWindowSize(connectionWindow),
		grpc.ReadBufferSize(socketBuffer),
		grpc.WriteBufferSize(socketBuffer),
		grpc.NumStreamWorkers(streamWorkers),
		// etcd's clients may ping every 5 s, also while nothing is going on.
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: c.KeepaliveMinTime, PermitWithoutStream: true}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: c.KeepaliveInterval, Timeout: c.KeepaliveTimeout, MaxConnectionAge: c.ConnectionAge}),
	}
	var unary []grpc.UnaryServerInterceptor
	var stream []grpc.StreamServerInterceptor
	if c.SlowCall > 0 {
		unary = append(unary, slowCalls{c.SlowCall, c.Logger, c.Clock}.unary)
	}
	if c.Allow != nil {
		unary, stream = append(unary, c.Allow.unary), append(stream, c.Allow.stream)
	}
	if c.HasLeader != nil {
		g := newLeaderGuard(c.HasLeader, c.Clock)
		unary, stream = append(unary, g.unary), append(stream, g.stream)
	}
	if c.IsLearner != nil {
		g := newLearnerGuard(c.IsLearner, c.Clock)
		unary, stream = append(unary, g.unary), append(stream, g.stream)
	}
	unary = append(unary, ownTime)
	options = append(options, supervise.ServerOptions("grpc", c.Logger)...)
	return append(options, grpc.ChainUnaryInterceptor(unary...), grpc.ChainStreamInterceptor(stream...))
}

func (allow Allow) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if err := allow(ctx, info.FullMethod); err != nil {
		return nil, err
	}
	return handler(ctx, req)
}

func (allow Allow) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if err := allow(ss.Context(), info.FullMethod); err != nil {
		return err
	}
	return handler(srv, ss)
}
