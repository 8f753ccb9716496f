package rpc

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/ctlplane/ctlplane/api/objectpb"
)

var errClosing = apierrors.NewServiceUnavailable("the server is stopping: connect to another one")

// Watch implements the service's Watch. The header goes out once the watch is established, so that a client
// can tell a watch without events from one that is not there yet. An error that ends the watch,
// such as one for a version that is compacted, is the call's own error.
func (s *Service) Watch(request *objectpb.ListRequest, stream grpc.ServerStreamingServer[objectpb.WatchEvent]) error {
	ctx, err := s.admit(stream.Context())
	if err != nil {
		return err
	}
	var opts metav1.ListOptions
	if err := decodeOptions(request.GetOptions(), &opts); err != nil {
		return err
	}
	if !s.enterWatch() {
		return s.failure(errClosing)
	}
	defer s.watches.Done()
	events, err := s.objects.Watch(ctx, resourceOf(request.GetResource()), request.GetNamespace(), opts)
	if err != nil {
		return s.failure(err)
	}
	defer events.Stop()
	if err := stream.SendHeader(metadata.MD{}); err != nil {
		return err
	}
	return s.forward(events, stream)
}

// enterWatch counts a watch in; false when the service is closing.
func (s *Service) enterWatch() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.closing:
		return false
	default:
		s.watches.Add(1)
		return true
	}
}

// forward sends events until they, the client or the service end. A client that does not read blocks
// Send; what that means for the events is up to the objects' own watch.
func (s *Service) forward(events watch.Interface, stream grpc.ServerStreamingServer[objectpb.WatchEvent]) error {
	for {
		select {
		case event, ok := <-events.ResultChan():
			if !ok {
				return stream.Context().Err()
			}
			if failed, ok := statusIn(event.Object); ok && event.Type == watch.Error {
				return objectpb.StatusError(failed)
			}
			encoded, err := s.encodings.of(event.Object)
			if err != nil {
				return s.failure(err)
			}
			if err := stream.Send(&objectpb.WatchEvent{Type: string(event.Type), Object: encoded}); err != nil {
				return err
			}
		case <-s.closing:
			return s.failure(errClosing)
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}
