// Package streaming is what the handlers of etcd's streaming RPCs share: requests that are read in the background, so that a
// handler can end while none comes, and goroutines of their own in which a panic is the end of the call alone.
//
// Invariant: a goroutine that reads requests ends with the context that it was given, or with the call that it reads for.
package streaming

import (
	"context"
	"errors"
	"io"

	"github.com/ctlplane/ctlplane/supervise"
)

// Contained runs a part of a call that has a goroutine of its own: a panic there is the call's failure, as one in its handler is.
func Contained(f func() error) error { return supervise.GRPCError(supervise.Call("grpc", nil, f)) }

// Received is one request of a stream, or the error that ended it.
type Received[T any] struct {
	Request *T
	Err     error
}

// Receive reads a stream's requests in the background, so that its handler can end while none comes. ctx must end at the
// latest when the handler returns. The goroutine then ends as well: gRPC ends the stream of a handler that has
// returned, and with it the call to recv.
func Receive[T any](ctx context.Context, recv func() (*T, error)) <-chan Received[T] {
	requests := make(chan Received[T])
	go func() {
		for {
			var req *T
			err := Contained(func() (err error) {
				req, err = recv()
				return err
			})
			select {
			case requests <- Received[T]{req, err}:
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

// EachRequest handles a stream's requests until the client has sent its last, for which it returns nil, or until ctx ends,
// for which it returns why.
func EachRequest[T any](ctx context.Context, recv func() (*T, error), handle func(*T)) error {
	requests := Receive(ctx, recv)
	for {
		select {
		case r := <-requests:
			switch {
			case errors.Is(r.Err, io.EOF):
				return nil
			case r.Err != nil:
				return r.Err
			}
			handle(r.Request)
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}
