package failure

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/pki"
)

// TestChangesErrorsBetweenMembers: what the leader says of a change reaches who asked as what it was; where the leader says
// nothing, or nothing that is known, nobody knows.
func TestChangesErrorsBetweenMembers(t *testing.T) {
	for _, want := range append(slices.Clone(membershipErrors), ErrTooManyRequests, ErrUnsafe, kv.ErrMemberNotFound, kv.ErrMemberExists, kv.ErrNoSpace) {
		if got := OfChange(ToStatus(fmt.Errorf("wrapped: %w", want))); !errors.Is(got, want) || errors.Is(got, ErrOutcomeUnknown) {
			t.Errorf("%v becomes %v", want, got)
		}
	}
	var refusal *pki.JoinError
	if got := OfChange(ToStatus(pki.Refuse(pki.JoinRefused, "no"))); !errors.As(got, &refusal) || refusal.Message != "no" {
		t.Errorf("a refusal becomes %v", got)
	}
	for _, again := range []error{ErrNotLeading, ErrNoLeader, ErrClosed} { // nothing was changed
		if got := OfChange(ToStatus(again)); !Retryable(got) || errors.Is(got, ErrOutcomeUnknown) {
			t.Errorf("%v becomes %v", again, got)
		}
	}
	unknown := []error{ErrOutcomeUnknown, Begun(ErrNotLeading), context.DeadlineExceeded, errors.New("something else")}
	for _, code := range []codes.Code{codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Internal, codes.Unknown} {
		unknown = append(unknown, status.Error(code, "the connection is lost"))
	}
	for _, err := range unknown {
		if got := OfChange(ToStatus(err)); !errors.Is(got, ErrOutcomeUnknown) || Retryable(got) {
			t.Errorf("%v becomes %v", err, got)
		}
	}
	if OfChange(nil) != nil || Begun(nil) != nil {
		t.Error("success is an error")
	}
}
