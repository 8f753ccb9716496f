package rpc

import (
	"context"
	"errors"
	"fmt"

	"google.golang.org/grpc/status"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/ctlplane/ctlplane/api/objectpb"
)

// failure gives any error of the objects as a gRPC error with a Kubernetes Status. Errors that are
// neither that nor the caller's own end are logged: they are ours.
func (s *Service) failure(err error) error {
	if known := apierrors.APIStatus(nil); errors.As(err, &known) {
		return objectpb.StatusError(known.Status())
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return status.FromContextError(err).Err()
	}
	s.logger.Error("an object request failed", "error", err)
	return objectpb.StatusError(apierrors.NewInternalError(err).Status())
}

func resourceOf(r *objectpb.Resource) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: r.GetGroup(), Version: r.GetVersion(), Resource: r.GetResource()}
}

func decodeOptions(data []byte, opts interface{ Unmarshal([]byte) error }) error {
	if err := opts.Unmarshal(data); err != nil {
		return badRequest("the options can't be decoded: %v", err)
	}
	return nil
}

func decodeObject(data []byte) (runtime.Object, error) {
	if err := checkSize(data); err != nil {
		return nil, err
	}
	obj, err := objectpb.DecodeObject(data)
	if err != nil {
		return nil, badRequest("the object can't be decoded: %v", err)
	}
	return obj, nil
}

func checkSize(data []byte) error {
	if len(data) <= MaxRequestBytes {
		return nil
	}
	message := fmt.Sprintf("the request has %d bytes, the limit is %d: split the object", len(data), MaxRequestBytes)
	return objectpb.StatusError(apierrors.NewRequestEntityTooLargeError(message).Status())
}

func badRequest(format string, args ...any) error {
	return objectpb.StatusError(apierrors.NewBadRequest(fmt.Sprintf(format, args...)).Status())
}

// statusIn gives the Status that a watch reports as an event; false for any other object.
func statusIn(obj runtime.Object) (metav1.Status, bool) {
	if s, ok := obj.(*metav1.Status); ok {
		return *s, true
	}
	return metav1.Status{}, false
}
