package rpcerr

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore"
)

// Every code of the store has a status of its own, with the text that it has in the store; also when it is wrapped.
func TestEveryCodeHasAStatus(t *testing.T) {
	known := 0
	for code := kv.ErrorCode(1); code.Error() != kv.ErrorCode(1<<31).Error(); code++ {
		known++
		got := status.Convert(ToStatus(fmt.Errorf("wrapped: %w", code)))
		// A member that was removed is one that isn't there, to etcd's clients.
		if got.Code() == codes.Unknown || got.Message() != code.Error() && code != kv.ErrMemberRemoved {
			t.Errorf("%v becomes %v", code, got)
		}
	}
	if known != len(codeErrors) {
		t.Errorf("%d codes, %d with a status", known, len(codeErrors))
	}
}

func TestErrorsOfMembers(t *testing.T) {
	for _, test := range []struct{ err, want error }{
		{raftstore.ErrNoLeader, rpctypes.ErrGRPCNoLeader},
		{fmt.Errorf("wrapped: %w", raftstore.ErrTooLarge), rpctypes.ErrGRPCRequestTooLarge},
		{raftstore.ErrTooManyRequests, rpctypes.ErrGRPCRequestTooManyRequests},
		{raftstore.ErrClosed, rpctypes.ErrGRPCStopped},
		{context.DeadlineExceeded, rpctypes.ErrGRPCDeadlineExceeded},
		{context.Canceled, rpctypes.ErrGRPCCanceled},
		{status.Error(codes.Aborted, "as it is"), status.Error(codes.Aborted, "as it is")},
		{errors.New("something else"), status.Error(codes.Unknown, "something else")},
	} {
		if got := ToStatus(test.err); !errors.Is(got, test.want) {
			t.Errorf("%v becomes %v, want %v", test.err, got, test.want)
		}
	}
}

// A write whose outcome is not known is answered with a code after which etcd's client doesn't try a write again, and which says
// that it may have been made.
func TestUnknownOutcomeIsUnavailable(t *testing.T) {
	err := ToStatus(raftstore.ErrOutcomeUnknown)
	if status.Code(err) != codes.Unavailable || errors.Is(err, rpctypes.ErrGRPCNoLeader) {
		t.Errorf("got %v", err)
	}
}
