package client

import (
	"context"
	"net/http"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ctlplane/ctlplane/api/objectpb"
)

// failures are the HTTP codes and reasons of gRPC errors that don't come from the object service itself.
var failures = map[codes.Code]struct {
	code   int32
	reason metav1.StatusReason
}{
	codes.Unauthenticated:   {http.StatusUnauthorized, metav1.StatusReasonUnauthorized},
	codes.PermissionDenied:  {http.StatusForbidden, metav1.StatusReasonForbidden},
	codes.Unimplemented:     {http.StatusNotFound, metav1.StatusReasonNotFound},
	codes.ResourceExhausted: {http.StatusRequestEntityTooLarge, metav1.StatusReasonRequestEntityTooLarge},
	codes.InvalidArgument:   {http.StatusBadRequest, metav1.StatusReasonBadRequest},
	codes.Internal:          {http.StatusInternalServerError, metav1.StatusReasonInternalError},
	codes.DeadlineExceeded:  {http.StatusGatewayTimeout, metav1.StatusReasonTimeout},
}

// fromGRPC gives a gRPC error as a Kubernetes one: the one that the server sent, or else what tells
// the same. What is wrong with the connection becomes ServiceUnavailable, which is worth another try.
func fromGRPC(ctx context.Context, err error) error {
	if s, ok := objectpb.StatusOf(err); ok {
		return &apierrors.StatusError{ErrStatus: s}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	wire := status.Convert(err)
	failure, ok := failures[wire.Code()]
	if !ok {
		failure.code, failure.reason = http.StatusServiceUnavailable, metav1.StatusReasonServiceUnavailable
	}
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: failure.code, Reason: failure.reason, Message: wire.Message(),
	}}
}

// readDelays are the pauses before a read is tried again that found nobody to answer: long enough, in
// sum, for a connection to move to another endpoint.
var readDelays = []time.Duration{20 * time.Millisecond, 100 * time.Millisecond, 400 * time.Millisecond}

// retryRead tries a read again while nobody is there to answer it. Writes are left to the caller, who
// alone knows whether they may be done twice.
func retryRead[T any](ctx context.Context, read func() (T, error)) (T, error) {
	for _, delay := range readDelays {
		result, err := read()
		if !apierrors.IsServiceUnavailable(err) {
			return result, err
		}
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return result, ctx.Err()
		}
	}
	return read()
}
