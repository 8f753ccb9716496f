package client

import (
	"context"
	"sync"

	"google.golang.org/grpc"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/ctlplane/ctlplane/api/objectpb"
)

// grpcWatch is a watch.Interface over a stream of the object service.
//
//  1. Its goroutine reads one event at a time, and the next only when that was taken: a slow reader
//     is felt by the server through the stream's flow control, and nothing piles up here.
//  2. Result is closed when the stream has ended, for whatever reason. An end of the connection is
//     not an event: whoever reads goes on from the last version that it saw.
//  3. Stop waits until the goroutine has ended.
type grpcWatch struct {
	stream  grpc.ServerStreamingClient[objectpb.WatchEvent]
	stopped <-chan struct{} // the caller's end or Stop; the stream's own context ends before its last event is handed over
	cancel  context.CancelFunc
	result  chan watch.Event
	done    sync.WaitGroup
}

// openWatch starts a watch and returns once the server has accepted or refused it.
func openWatch(ctx context.Context, rpc objectpb.ObjectsClient, request *objectpb.ListRequest) (watch.Interface, error) {
	streaming, cancel := context.WithCancel(ctx)
	stream, err := rpc.Watch(streaming, request, anySize)
	if err == nil {
		err = accepted(stream)
	}
	if err != nil {
		cancel()
		return nil, fromGRPC(ctx, err)
	}
	w := &grpcWatch{stream: stream, stopped: streaming.Done(), cancel: cancel, result: make(chan watch.Event)}
	w.done.Go(w.run)
	return w, nil
}

// accepted waits for the stream's header, which the server sends once the watch stands. Of a watch
// that was refused there is none, and the reason comes with the end of the stream.
func accepted(stream grpc.ServerStreamingClient[objectpb.WatchEvent]) error {
	header, err := stream.Header()
	if err != nil {
		return err
	}
	if header == nil {
		_, err = stream.Recv()
	}
	return err
}

// ResultChan gives the events; it is closed when the watch has ended.
func (w *grpcWatch) ResultChan() <-chan watch.Event { return w.result }

// Stop ends the watch. It may be called more than once.
func (w *grpcWatch) Stop() {
	w.cancel()
	w.done.Wait()
}

func (w *grpcWatch) run() {
	defer close(w.result)
	defer w.cancel()
	for {
		event, ok := w.receive()
		if !ok {
			return
		}
		select {
		case w.result <- event:
		case <-w.stopped:
			return
		}
		if event.Type == watch.Error {
			return
		}
	}
}

// receive reads the next event; false when the stream has ended without anything to tell.
func (w *grpcWatch) receive() (watch.Event, bool) {
	message, err := w.stream.Recv()
	if s, failed := objectpb.StatusOf(err); failed && !apierrors.IsServiceUnavailable(&apierrors.StatusError{ErrStatus: s}) {
		return watch.Event{Type: watch.Error, Object: &s}, true
	}
	if err != nil {
		return watch.Event{}, false
	}
	obj, err := objectpb.DecodeObject(message.GetObject())
	if err != nil {
		s := apierrors.NewInternalError(err).Status()
		return watch.Event{Type: watch.Error, Object: &s}, true
	}
	return watch.Event{Type: watch.EventType(message.GetType()), Object: obj}, true
}
