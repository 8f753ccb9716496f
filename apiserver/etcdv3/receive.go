package etcdv3

import (
	"context"
	"errors"
	"io"

	"github.com/ctlplane/ctlplane/supervise"
)

// contained runs a part of a call that has a goroutine of its own: a panic there is the call's failure, as one in its handler is.
func contained(f func() error) error { return supervise.GRPCError(supervise.Call("grpc", nil, f)) }

// received is one request of a stream, or the error that ended it.
type received[T any] struct {
	request *T
	err     error
}

// receive reads a stream's requests in the background, so that its handler can end while none comes. ctx must end at the
// latest when the handler returns. The goroutine then ends as well: gRPC ends the stream of a handler that has
// returned, and with it the call to recv.
func receive[T any](ctx context.Context, recv func() (*T, error)) <-chan received[T] {
	requests := make(chan received[T])
	go func() {
		for {
			var req *T
			err := contained(func() (err error) {
				req, err = recv()
				return err
			})
			select {
			case requests <- received[T]{req, err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	return requests
}

// eachRequest handles a stream's requests until the client has sent its last, for which it returns nil, or until ctx ends,
// for which it returns why.
func eachRequest[T any](ctx context.Context, recv func() (*T, error), handle func(*T)) error {
	requests := receive(ctx, recv)
	for {
		select {
		case r := <-requests:
			switch {
			case errors.Is(r.err, io.EOF):
				return nil
			case r.err != nil:
				return r.err
			}
			handle(r.request)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
