package propose

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"

	"google.golang.org/grpc"

	"github.com/ctlplane/ctlplane/api/peerpb"
	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/supervise"
)

// groupsInFlight bounds the groups of one follower that are being worked on.
const groupsInFlight = 16

// proposeFunc has a command proposed, and calls done exactly once, with the outcome. It is called for one command after another.
type proposeFunc func(ctx context.Context, command kv.Command, encoded []byte, done func(kv.Result, error))

// Serve answers a member that forwards its groups over a stream, until that ends.
func Serve(stream grpc.BidiStreamingServer[peerpb.ForwardRequest, peerpb.ForwardResponse], logger *slog.Logger, propose proposeFunc) error {
	var sending sync.Mutex
	var groups sync.WaitGroup
	defer groups.Wait() // the stream ends with this call
	// Each message is sent for itself: those of other groups don't wait for the last of a large answer.
	send := func(message *peerpb.ForwardResponse) error {
		sending.Lock()
		defer sending.Unlock()
		return stream.Send(message)
	}
	slots := make(chan struct{}, groupsInFlight)
	for {
		request, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		slots <- struct{}{}
		outcomes := proposeGroup(stream.Context(), request, propose)
		groups.Go(func() {
			defer func() { <-slots }()
			if supervise.Call("peer", logger, func() error {
				return sendOutcomes(request, outcomes(), send)
			}) != nil {
				// Nobody shall wait for the rest. A failure to send ends the stream, which Recv sees too.
				_ = send(&peerpb.ForwardResponse{Id: request.Id})
			}
		})
	}
}

// proposeGroup queues a follower's commands. outcomes waits until all have theirs.
func proposeGroup(ctx context.Context, request *peerpb.ForwardRequest, propose proposeFunc) (outcomes func() []outcome) {
	of := make([]outcome, len(request.Commands))
	var left sync.WaitGroup
	left.Add(len(request.Commands))
	for i, encoded := range request.Commands {
		done := func(result kv.Result, err error) {
			of[i] = outcome{result: result, err: err}
			left.Done()
		}
		command, err := kv.DecodeCommand(encoded)
		if err != nil {
			done(ResultOf(err))
			continue
		}
		propose(ctx, command, encoded, done)
	}
	return func() []outcome {
		left.Wait()
		return of
	}
}

// ResultOf puts a command's own error into its result, as if it had been applied.
func ResultOf(err error) (kv.Result, error) {
	var code kv.ErrorCode
	if errors.As(err, &code) {
		return kv.Result{Err: err}, nil
	}
	return kv.Result{}, err
}
