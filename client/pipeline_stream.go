package client

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/ctlplane/ctlplane/api/writepb"
)

const (
	// pipelineBytes bounds the keys and values of the writes that wait for their answers, so that memory is bounded
	// when the cluster is slower than the writer.
	pipelineBytes = 16 << 20
	// pipelineMessageBytes and pipelineMessageOps bound one message: large enough that a message's own cost vanishes,
	// small enough that the first write of it doesn't wait for the last.
	pipelineMessageBytes = 64 << 10
	pipelineMessageOps   = 512
)

// writeStream is a pipeline's stream to one member.
//
//  1. pending[op.Id] is set if and only if the write with that id was accepted and is not yet answered; an id is
//     free again once it is answered.
//  2. used is the bytes of all writes in pending, and never above pipelineBytes but for a single larger write.
type writeStream struct {
	stream writepb.Pipeline_WriteClient
	// header is what the server said at the beginning. Its MaxWriteBytes bounds a write, unless it is 0. A larger one must not be
	// sent: a server that can't receive it ends the stream, and leaves the others on it without an answer.
	header writepb.Header
	cancel context.CancelFunc // ends the stream, and the connection that it alone uses
	loops  sync.WaitGroup     // send and receive

	mu      sync.Mutex
	room    sync.Cond // signalled when used falls, and at the end
	idle    sync.Cond // signalled when nothing is pending, and at the end
	queue   []*writepb.WriteOp
	spare   []*writepb.WriteOp // sent ones, to be used again
	pending []pendingWrite
	free    []uint64 // ids not in use
	used    int
	waiting int   // writers that wait for room
	live    int   // writes in pending
	closing bool  // close was called: no more writes
	err     error // why the stream ended
	wake    chan struct{}
}

type pendingWrite struct {
	done  func(revision int64, err error)
	bytes int
}

// start has the stream send and receive.
func (s *writeStream) start() {
	s.loops.Add(2)
	go s.send()
	go s.receive()
}

// write accepts a write, or answers one that is too large. Otherwise the error is why the stream takes none, and done is not called.
func (s *writeStream) write(key, value []byte, lease int64, remove bool, done func(int64, error)) error {
	size := len(key) + len(value)
	if largest := s.header.MaxWriteBytes; largest > 0 && size > largest {
		done(0, rpctypes.ErrGRPCRequestTooLarge)
		return nil
	}
	s.mu.Lock()
	for s.used+size > pipelineBytes && s.live > 0 && s.err == nil && !s.closing {
		s.waiting++
		s.room.Wait()
		s.waiting--
	}
	if s.closing || s.err != nil {
		err := ErrPipelineClosed
		if s.err != nil {
			err = fmt.Errorf("%w; it ended with: %w", ErrPipelineClosed, s.err)
		}
		s.mu.Unlock()
		return err
	}
	op := s.newOp()
	op.Key, op.Value, op.Lease, op.Delete = key, value, lease, remove
	s.pending[op.Id] = pendingWrite{done: done, bytes: size}
	s.used += size
	s.live++
	s.queue = append(s.queue, op)
	first := len(s.queue) == 1
	s.mu.Unlock()
	if first {
		select {
		case s.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

// newOp takes an operation from the spare ones and gives it a free id.
func (s *writeStream) newOp() *writepb.WriteOp {
	var op *writepb.WriteOp
	if n := len(s.spare); n > 0 {
		op, s.spare = s.spare[n-1], s.spare[:n-1]
	} else {
		op = &writepb.WriteOp{}
	}
	if n := len(s.free); n > 0 {
		op.Id, s.free = s.free[n-1], s.free[:n-1]
	} else {
		op.Id = uint64(len(s.pending))
		s.pending = append(s.pending, pendingWrite{})
	}
	return op
}

// send packs what is queued into messages until the stream ends.
func (s *writeStream) send() {
	defer s.loops.Done()
	var batch writepb.WriteBatch
	var taken []*writepb.WriteOp
	for {
		select {
		case <-s.wake:
		case <-s.stream.Context().Done():
			return
		}
		// Let writers that are ready to run add theirs. On an idle machine this returns at once.
		runtime.Gosched()
		s.mu.Lock()
		taken, s.queue = s.queue, taken[:0]
		s.mu.Unlock()
		for rest := taken; len(rest) > 0; {
			n := messageLen(rest)
			batch.Ops = rest[:n]
			if err := s.stream.Send(&batch); err != nil {
				return // receive sees the reason
			}
			rest = rest[n:]
		}
		s.recycle(taken)
	}
}

// messageLen is how many of ops go into one message.
func messageLen(ops []*writepb.WriteOp) int {
	size := 0
	for i, op := range ops {
		size += len(op.Key) + len(op.Value)
		if i > 0 && size > pipelineMessageBytes || i == pipelineMessageOps {
			return i
		}
	}
	return len(ops)
}

// recycle keeps sent operations for use again: they are encoded by the time Send returns.
func (s *writeStream) recycle(sent []*writepb.WriteOp) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, op := range sent {
		op.Key, op.Value = nil, nil
		s.spare = append(s.spare, op)
		sent[i] = nil
	}
}

// receive hands answers to their writes until the stream ends, then fails what is left.
func (s *writeStream) receive() {
	defer s.loops.Done()
	var batch writepb.ResultBatch
	var done []pendingWrite
	for {
		if err := s.stream.RecvMsg(&batch); err != nil {
			s.end(err)
			return
		}
		var bad error
		done, bad = s.claim(batch.Results, done[:0])
		for i, r := range batch.Results[:len(done)] {
			done[i].done(r.Revision, resultError(r))
		}
		if bad != nil {
			s.cancel()
			s.end(bad)
			return
		}
	}
}

// claim takes the writes that results answer out of pending. An answer to a write that isn't there means that the server
// can't be trusted with the others either.
func (s *writeStream) claim(results []*writepb.WriteResult, done []pendingWrite) ([]pendingWrite, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range results {
		if r.Id >= uint64(len(s.pending)) || s.pending[r.Id].done == nil {
			return done, fmt.Errorf("the server answered write %d, which is not in flight", r.Id)
		}
		w := s.pending[r.Id]
		done = append(done, w)
		s.pending[r.Id] = pendingWrite{}
		s.free = append(s.free, r.Id)
		s.used -= w.bytes
		s.live--
	}
	if s.waiting > 0 {
		s.room.Broadcast()
	}
	if s.live == 0 {
		s.idle.Broadcast()
	}
	return done, nil
}

// end fails all that is pending after the stream ended because of cause.
func (s *writeStream) end(cause error) {
	s.mu.Lock()
	if s.err == nil {
		s.err = cause
	}
	lost := s.pending
	s.pending, s.free, s.live, s.used = nil, nil, 0, 0
	s.room.Broadcast()
	s.idle.Broadcast()
	s.mu.Unlock()
	for _, w := range lost {
		if w.done != nil {
			w.done(0, fmt.Errorf("%w (%w)", ErrOutcomeUnknown, cause))
		}
	}
	s.cancel()
}

// close waits until every write is answered, then ends the stream. The error is what broke it, if it broke.
func (s *writeStream) close() error {
	s.mu.Lock()
	s.closing = true
	s.room.Broadcast()
	for s.live > 0 && s.err == nil {
		s.idle.Wait()
	}
	err := s.err
	if err == nil {
		s.err = ErrPipelineClosed
	}
	s.mu.Unlock()
	s.cancel()
	s.loops.Wait()
	if errors.Is(err, ErrPipelineClosed) {
		return nil // closed before
	}
	return err
}

// resultError is the error that a result carries, as a gRPC status with etcd's code and text. By some codes the store says that it
// did not make the write, and by two of its texts; whatever else went wrong may have come after the change.
func resultError(r *writepb.WriteResult) error {
	err := status.Error(codes.Code(r.Code), r.Message)
	switch codes.Code(r.Code) {
	case codes.OK:
		return nil
	case codes.InvalidArgument, codes.NotFound, codes.AlreadyExists, codes.PermissionDenied, codes.Unauthenticated,
		codes.ResourceExhausted, codes.FailedPrecondition, codes.OutOfRange, codes.Unimplemented:
		return err
	}
	if errors.Is(err, rpctypes.ErrGRPCNoLeader) || errors.Is(err, rpctypes.ErrGRPCCorrupt) {
		return err
	}
	return fmt.Errorf("%w (%w)", ErrOutcomeUnknown, err)
}
