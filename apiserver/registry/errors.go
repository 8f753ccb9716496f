package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore"
)

// MaxObjectBytes is the size up to which an object is stored.
const MaxObjectBytes = 3 << 19 // 1.5 MiB

// MaxBodyBytes is the size up to which a request's body is read: JSON has up to twice the bytes, and more, of what is stored.
const MaxBodyBytes = 3 << 20 // 3 MiB

// retrySeconds is what a caller is told to wait for a store that does not answer now.
const retrySeconds = 1

// statusOf gives err in the form that API clients understand.
func statusOf(err error) apierrors.APIStatus {
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		return status
	}
	return apierrors.NewInternalError(err)
}

// readError turns a failure of the store to read into what a client can act on.
func readError(err error) error {
	switch {
	case errors.Is(err, kv.ErrCompacted):
		return apierrors.NewResourceExpired("The provided resource version is too old: it has been compacted. Start over with a list without one.")
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return apierrors.NewTimeoutError("the store did not answer in time: "+err.Error(), retrySeconds)
	}
	unavailable := apierrors.NewServiceUnavailable("the store does not answer: " + err.Error())
	unavailable.ErrStatus.Details = &metav1.StatusDetails{RetryAfterSeconds: retrySeconds}
	return unavailable
}

// writeError turns a failure of the store to write into what a client can act on. Whether the write
// took place may be unknown: the client must not be led to repeat it blindly.
func writeError(err error) error {
	switch {
	case errors.Is(err, kv.ErrNoSpace):
		return &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusInsufficientStorage, Reason: metav1.StatusReasonInternalError,
			Message: "the store is full and takes no more writes: delete objects, or raise its quota",
		}}
	case errors.Is(err, raftstore.ErrNoLeader), errors.Is(err, raftstore.ErrClosed):
		return readError(err) // nothing was changed: it is safe to repeat
	case errors.Is(err, raftstore.ErrTooManyRequests):
		return apierrors.NewTooManyRequests(err.Error(), retrySeconds)
	case errors.Is(err, raftstore.ErrTooLarge):
		return apierrors.NewRequestEntityTooLargeError(err.Error())
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return apierrors.NewTimeoutError("the write was not acknowledged in time and may have taken place: read before you repeat it", 0)
	}
	return apierrors.NewTimeoutError("the write was not acknowledged and may have taken place, read before you repeat it: "+err.Error(), 0)
}

func errNoResource() error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{
		Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound,
		Message: "the server could not find the requested resource", Details: &metav1.StatusDetails{},
	}}
}

func forbidden(q *request, text string) error {
	resource := q.kind.GroupResource()
	err := apierrors.NewForbidden(resource, q.name(), errors.New(text))
	return err
}

func (q *request) notFound() error {
	return apierrors.NewNotFound(q.kind.GroupResource(), q.name())
}

// conflict says that the object changed since the caller read it.
func conflict(resource schema.GroupResource, name string) error {
	return apierrors.NewConflict(resource, name,
		errors.New("the object has been modified; please apply your changes to the latest version and try again"))
}

// tooLarge says that a resource version is from the future, as clients know it.
func tooLarge(requested, current int64) error {
	err := apierrors.NewTimeoutError(fmt.Sprintf("Too large resource version: %d, current: %d", requested, current), retrySeconds)
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{
		Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version",
	}}
	return err
}

// oversized says that an object is larger than what is stored.
func oversized(size int) error {
	return apierrors.NewRequestEntityTooLargeError(
		fmt.Sprintf("the object has %d bytes as it is stored, the limit is %d (1.5 MiB): split it", size, MaxObjectBytes))
}
