package etcdv3

import (
	"context"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"k8s.io/utils/clock"
)

const (
	// leaderCheckInterval is how often a member that serves streams that want a leader looks for it.
	leaderCheckInterval = 500 * time.Millisecond
	// leaderMemory is how long an answer to whether there is a leader is taken for true, so that asking costs calls nothing.
	leaderMemory = 100 * time.Millisecond
	// leaderlessChecks is how many times in a row none is found before these streams are ended: longer than an election.
	leaderlessChecks = 6
)

// leaderGuard holds what clients ask for with clientv3.WithRequireLeader: a call to a member that is cut off from the
// leader fails at once, and an open stream is ended, so that the client turns to another member.
//
// Invariant: the checking goroutine runs if and only if streams is not empty, and the one who takes the last
// stream away waits for its end.
type leaderGuard struct {
	hasLeader func() bool
	clock     clock.WithTicker

	asked atomic.Int64 // when hasLeader was last asked, in nanoseconds
	known atomic.Bool  // what it said

	mu      sync.Mutex
	streams map[*guardedStream]struct{}
	stop    chan struct{}
	stopped chan struct{}
}

func newLeaderGuard(hasLeader func() bool, c clock.WithTicker) *leaderGuard {
	g := &leaderGuard{hasLeader: hasLeader, clock: c, streams: map[*guardedStream]struct{}{}}
	g.asked.Store(math.MinInt64 / 2)
	return g
}

// leaderKnown is hasLeader, as of a moment ago.
func (g *leaderGuard) leaderKnown() bool {
	now := g.clock.Now().UnixNano()
	if now-g.asked.Load() < int64(leaderMemory) {
		return g.known.Load()
	}
	known := g.hasLeader()
	g.known.Store(known)
	g.asked.Store(now)
	return known
}

func (g *leaderGuard) unary(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if !g.leaderKnown() && requiresLeader(ctx) { // the cheaper question first
		return nil, rpctypes.ErrGRPCNoLeader
	}
	return handler(ctx, req)
}

func (g *leaderGuard) stream(srv any, ss grpc.ServerStream, _ *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if !requiresLeader(ss.Context()) {
		return handler(srv, ss)
	}
	if !g.leaderKnown() {
		return rpctypes.ErrGRPCNoLeader
	}
	ctx, cancel := context.WithCancelCause(ss.Context())
	guarded := &guardedStream{ServerStream: ss, ctx: ctx, cancel: cancel}
	g.add(guarded)
	defer g.remove(guarded)
	return handler(srv, guarded)
}

func requiresLeader(ctx context.Context) bool {
	values := metadata.ValueFromIncomingContext(ctx, rpctypes.MetadataRequireLeaderKey)
	return len(values) > 0 && values[0] == rpctypes.MetadataHasLeader
}

// guardedStream is a stream whose context ends when there is no leader.
type guardedStream struct {
	grpc.ServerStream
	ctx    context.Context
	cancel context.CancelCauseFunc
}

func (s *guardedStream) Context() context.Context { return s.ctx }

func (g *leaderGuard) add(s *guardedStream) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.streams[s] = struct{}{}
	if len(g.streams) == 1 {
		g.stop, g.stopped = make(chan struct{}), make(chan struct{})
		go g.check(g.stop, g.stopped)
	}
}

func (g *leaderGuard) remove(s *guardedStream) {
	s.cancel(nil)
	g.mu.Lock()
	delete(g.streams, s)
	var stopped chan struct{}
	if len(g.streams) == 0 {
		close(g.stop)
		stopped = g.stopped
	}
	g.mu.Unlock()
	if stopped != nil {
		<-stopped
	}
}

// check ends the guarded streams when no leader was found for a while.
func (g *leaderGuard) check(stop, stopped chan struct{}) {
	defer close(stopped)
	tick := g.clock.NewTicker(leaderCheckInterval)
	defer tick.Stop()
	misses := 0
	for {
		select {
		case <-stop:
			return
		case <-tick.C():
		}
		if misses++; g.hasLeader() {
			misses = 0
		}
		if misses >= leaderlessChecks {
			g.endAll()
		}
	}
}

func (g *leaderGuard) endAll() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for s := range g.streams {
		s.cancel(rpctypes.ErrGRPCNoLeader)
	}
}
