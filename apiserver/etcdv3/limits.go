package etcdv3

import (
	"context"
	"math"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"k8s.io/utils/clock"
)

// What clients may ask for at most, by etcd's defaults.
const (
	// DefaultMaxRequestBytes bounds one write: what is larger doesn't belong in a replicated log.
	DefaultMaxRequestBytes = 3 << 19 // 1.5 MiB
	// DefaultMaxTxnOps bounds the operations of a transaction: the longest of its compares, success and failure lists, plus
	// that of the transactions nested in it.
	DefaultMaxTxnOps = 128
	// DefaultMaxConcurrentStreams bounds the calls on one connection.
	DefaultMaxConcurrentStreams = math.MaxUint32
	// requestOverhead is what a message may have beside the largest request.
	requestOverhead = 512 << 10
)

// envelope is about what etcd's log puts around a request, and counts.
const envelope = 32

// checkSize refuses a write that is too large.
func checkSize(size, limit int) error {
	if size+envelope > limit {
		return rpctypes.ErrGRPCRequestTooLarge
	}
	return nil
}

// checkTxn refuses a transaction that is too large, or has too many operations. What else may be wrong with it the
// store finds.
func checkTxn(r *pb.TxnRequest, maxBytes, maxOps int) error {
	if !txnFits(r, maxOps) {
		return rpctypes.ErrGRPCTooManyOps
	}
	return checkSize(proto.Size(r), maxBytes)
}

// txnFits counts the operations of a transaction: those of the level at which it stands, and what is left of the limit
// is for each of those nested in it.
func txnFits(t *pb.TxnRequest, limit int) bool {
	limit -= max(len(t.GetCompare()), len(t.GetSuccess()), len(t.GetFailure()))
	if limit < 0 {
		return false
	}
	for _, branch := range [...][]*pb.RequestOp{t.GetSuccess(), t.GetFailure()} {
		for _, op := range branch {
			if nested := op.GetRequestTxn(); nested != nil && !txnFits(nested, limit) {
				return false
			}
		}
	}
	return true
}

// learnerMemory is how long a member that was no learner is taken for none.
const learnerMemory = 100 * time.Millisecond

// learnerGuard refuses at a learner what a learner does not serve: it may be behind, and has no say.
type learnerGuard struct {
	isLearner func() bool
	clock     clock.Clock
	voterAt   atomic.Int64 // when it was last seen to be no learner, in nanoseconds
}

func newLearnerGuard(isLearner func() bool, c clock.Clock) *learnerGuard {
	g := &learnerGuard{isLearner: isLearner, clock: c}
	g.voterAt.Store(math.MinInt64 / 2)
	return g
}

// learner asks again each time where the answer is yes: a member that was promoted is to serve at once.
func (g *learnerGuard) learner() bool {
	now := g.clock.Now().UnixNano()
	if now-g.voterAt.Load() < int64(learnerMemory) {
		return false
	}
	if g.isLearner() {
		return true
	}
	g.voterAt.Store(now)
	return false
}

func (g *learnerGuard) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if g.learner() && !servedByLearners(req) {
		return nil, rpctypes.ErrGRPCNotSupportedForLearner
	}
	return handler(ctx, req)
}

func (g *learnerGuard) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if info.FullMethod != pb.Maintenance_Snapshot_FullMethodName && g.learner() {
		return rpctypes.ErrGRPCNotSupportedForLearner
	}
	return handler(srv, ss)
}

// servedByLearners tells which requests a learner answers: those after its status, and reads that ask for no more than
// what it happens to have. Services other than etcd's decide for themselves.
func servedByLearners(req any) bool {
	switch r := req.(type) {
	case *pb.RangeRequest:
		return r.Serializable
	case *pb.StatusRequest:
		return true
	case proto.Message:
		return r.ProtoReflect().Descriptor().ParentFile().Package() != "etcdserverpb"
	}
	return true
}
