package etcdv3

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ctlplane/ctlplane/api/v3electionpb"
	"github.com/ctlplane/ctlplane/api/v3lockpb"
	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore"
)

// lateBackend makes changes and fails to say so: a time that was not the client's was over.
type lateBackend struct {
	*localBackend
	err   error
	calls atomic.Int64
}

func (b *lateBackend) Propose(ctx context.Context, c kv.Command) (kv.Result, error) {
	b.calls.Add(1)
	_, _ = b.localBackend.Propose(ctx, c)
	return kv.Result{}, b.err
}

func (b *lateBackend) ReserveMember(context.Context, []string, bool) (uint64, error) {
	b.calls.Add(1)
	return 0, b.err
}

// TestEtcdsClientMakesNoWriteTwice: etcd's client takes the end of a time that is not its own for that of one attempt, and makes
// the next, also of a write. It is told that the outcome is unknown instead, after which it makes none.
func TestEtcdsClientMakesNoWriteTwice(t *testing.T) {
	for _, err := range []error{
		context.DeadlineExceeded, context.Canceled,
		status.Error(codes.DeadlineExceeded, "context deadline exceeded"), status.Error(codes.Canceled, "context canceled"),
		raftstore.ErrOutcomeUnknown,
	} {
		b := &lateBackend{localBackend: newLocalBackend(t), err: err}
		c := connect(t, serve(t, b, ServerConfig{}, Options{}))
		for name, write := range map[string]func() error{
			"put":        func() error { _, err := c.Put(t.Context(), "key", "value"); return err },
			"member add": func() error { _, err := c.MemberAdd(t.Context(), []string{"http://127.0.0.1:1"}); return err },
		} {
			b.calls.Store(0)
			if got := write(); !errors.Is(got, rpctypes.ErrTimeoutDueToLeaderFail) {
				t.Errorf("%s that ended with %v: %v", name, err, got)
			}
			if calls := b.calls.Load(); calls != 1 {
				t.Errorf("%s that ended with %v was made %d times", name, err, calls)
			}
		}
	}
}

// leaderlessBackend loses its leader after the first transaction.
type leaderlessBackend struct {
	*localBackend
	txns int
}

func (b *leaderlessBackend) Propose(ctx context.Context, c kv.Command) (kv.Result, error) {
	if c.Txn != nil {
		if b.txns++; b.txns > 1 {
			return kv.Result{}, raftstore.ErrNoLeader
		}
	}
	return b.localBackend.Propose(ctx, c)
}

func (b *leaderlessBackend) Range(context.Context, *pb.RangeRequest) (*pb.RangeResponse, error) {
	return nil, raftstore.ErrNoLeader
}

// TestContenderThatStaysInLineIsSaidSo: one that could not wait for its turn, nor be taken out of the line again, may get the
// lock later: that is not the answer of one for whom nothing was changed.
func TestContenderThatStaysInLineIsSaidSo(t *testing.T) {
	for name, contend := range map[string]func(Backend) error{
		"lock": func(b Backend) error {
			_, err := (&lockServer{sessions: sessions{b}}).Lock(t.Context(), &v3lockpb.LockRequest{Name: []byte("lock")})
			return err
		},
		"campaign": func(b Backend) error {
			_, err := (&electionServer{sessions: sessions{b}}).Campaign(t.Context(), &v3electionpb.CampaignRequest{Name: []byte("lead")})
			return err
		},
	} {
		err := contend(newAuthorized(&leaderlessBackend{localBackend: newLocalBackend(t)}, Options{}.withDefaults()))
		if !errors.Is(err, rpctypes.ErrGRPCTimeoutDueToLeaderFail) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
