package failure

import (
	"errors"
	"strconv"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/pki"
)

// The errors that survive the way between members, and the gRPC codes that they travel as. All but ErrOutcomeUnknown mean that
// nothing was changed.
var statusErrors = []struct {
	code codes.Code
	err  error
}{
	{codes.FailedPrecondition, ErrNotLeading},
	{codes.ResourceExhausted, ErrTooManyRequests},
	{codes.Aborted, ErrUnsafe},
	{codes.DataLoss, ErrOutcomeUnknown},
	{codes.NotFound, kv.ErrMemberNotFound},
}

const (
	// statusRefused carries a *pki.JoinError, statusMembership one of membershipErrors, told by its text, and statusStore a
	// kv.ErrorCode, told by its number.
	statusRefused    = codes.InvalidArgument
	statusMembership = codes.OutOfRange
	statusStore      = codes.AlreadyExists
)

// ToStatus is an error as it goes to another member.
func ToStatus(err error) error {
	for _, known := range statusErrors {
		if errors.Is(err, known.err) {
			return status.Error(known.code, err.Error())
		}
	}
	for _, known := range membershipErrors {
		if errors.Is(err, known) {
			return status.Error(statusMembership, known.Error())
		}
	}
	var refusal *pki.JoinError
	var code kv.ErrorCode
	switch {
	case errors.As(err, &refusal):
		return status.Error(statusRefused, refusal.Message)
	case errors.As(err, &code):
		return status.Error(statusStore, strconv.FormatUint(uint64(code), 10))
	case errors.Is(err, ErrClosed), errors.Is(err, ErrNoLeader):
		return status.Error(codes.FailedPrecondition, ErrNotLeading.Error())
	}
	return err
}

// FromStatus is the reverse of ToStatus. An error that is none of those it returns as it is.
func FromStatus(err error) error {
	s := status.Convert(err)
	for _, known := range statusErrors {
		if s.Code() == known.code {
			return known.err
		}
	}
	switch s.Code() {
	case statusMembership:
		for _, known := range membershipErrors {
			if s.Message() == known.Error() {
				return known
			}
		}
	case statusStore:
		if code, err := strconv.ParseUint(s.Message(), 10, 32); err == nil {
			return kv.ErrorCode(code)
		}
	case statusRefused:
		return pki.Refuse(pki.JoinRefused, "%s", s.Message())
	}
	return err
}

// OfChange is the error of a request that changes something. Where the other member did not answer with an error that it
// knows, nobody knows whether it was done: the connection was lost after it was sent, the time was over, or the member met a
// fault of its own.
func OfChange(err error) error {
	if known := FromStatus(err); known != err {
		return known
	}
	return Begun(err)
}

// Retryable tells errors after which something may be asked again: nothing was changed, or the question changes nothing.
func Retryable(err error) bool {
	if errors.Is(err, ErrNotLeading) || errors.Is(err, ErrUnreachable) {
		return true
	}
	return status.Code(err) == codes.Unavailable
}
