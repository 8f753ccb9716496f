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

// ErrOutcomeUnknown is the error of writes that may have been committed or not: they were under way when the
// stream broke, or when the cluster lost its leader. Read the key to find out, or write again what may be written twice.
var ErrOutcomeUnknown = errors.New("the outcome of the write is unknown")

// ErrPipelineClosed is the error of writes handed to a pipeline that was closed or had broken.
var ErrPipelineClosed = errors.New("the pipeline is closed; open another with Client.Pipeline")

// Pipeline is a stream of writes with many in flight at once, for writers that need not wait for one write before
// the next. Writes are proposed in the order in which they were given to the pipeline; they are packed
// into messages as they come: a write on an idle pipeline leaves at once, those given meanwhile leave together.
//
//  1. Every write that was accepted is answered exactly once: committed and applied, refused, or ErrOutcomeUnknown.
//  2. pending[op.Id] is set if and only if the write with that id was accepted and is not yet answered; an id is
//     free again once it is answered.
//  3. used is the bytes of all writes in pending, and never above pipelineBytes but for a single larger write.
//
// All methods are safe for concurrent use.
type Pipeline struct {
	stream writepb.Pipeline_WriteClient
	cancel context.CancelFunc
	// largest is what a write may have; 0: the server will tell. A larger one must not be sent: a server that can't receive it
	// ends the stream, and leaves the others on it without an answer.
	largest int
	loops   sync.WaitGroup // send and receive

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
	closing bool  // Close was called: no more writes
	err     error // why the pipeline ended
	wake    chan struct{}
}

type pendingWrite struct {
	done  func(revision int64, err error)
	bytes int
}

// Pipeline opens a stream of writes to one of the endpoints. ctx bounds the life of the pipeline: when it ends,
// writes in flight fail with ErrOutcomeUnknown. Against a server without the service (a plain etcd) the error's gRPC code
// is Unimplemented.
func (c *Client) Pipeline(ctx context.Context) (*Pipeline, error) {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := writepb.NewPipelineClient(c.etcd.ActiveConnection()).Write(ctx)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("open a write stream: %w", err)
	}
	p := &Pipeline{stream: stream, cancel: cancel, wake: make(chan struct{}, 1)}
	p.room.L, p.idle.L = &p.mu, &p.mu
	header, err := headerOf(stream)
	if err != nil {
		cancel()
		return nil, err
	}
	p.largest = header.MaxWriteBytes
	p.loops.Add(2)
	go p.send()
	go p.receive()
	return p, nil
}

// headerOf waits for the server's header, which it sends as soon as the stream is open. A server that refuses the
// stream, or that lacks the service, ends it without one.
func headerOf(stream writepb.Pipeline_WriteClient) (writepb.Header, error) {
	md, err := stream.Header()
	if err == nil && md != nil {
		return writepb.HeaderOf(md), nil
	}
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) == codes.Unimplemented {
		return writepb.Header{}, fmt.Errorf("open a write stream: the server has none (only a ctlplane master does): %w", err)
	}
	return writepb.Header{}, fmt.Errorf("open a write stream: %w", err)
}

// Put writes value under key. It blocks only while too many bytes are in flight. key and value belong to
// the pipeline until the write is answered.
func (p *Pipeline) Put(key, value []byte) *Pending {
	w := &Pending{}
	p.PutFunc(key, value, w.complete)
	return w
}

// Delete removes key; removing one that is not there is no error.
func (p *Pipeline) Delete(key []byte) *Pending {
	w := &Pending{}
	p.write(key, nil, 0, true, w.complete)
	return w
}

// PutFunc is Put with a call in place of a future: done is called once with the store's revision after the write, or
// with its error. It is called on the goroutine that reads the answers (or, when the pipeline has ended or the write is
// too large, on the caller's): it must not block. It may write again as long as all writes in flight together stay well below
// 16 MiB; above that the write would wait for answers that nobody reads.
func (p *Pipeline) PutFunc(key, value []byte, done func(revision int64, err error)) {
	p.write(key, value, 0, false, done)
}

// PutLease is Put with a lease that the key is removed with.
func (p *Pipeline) PutLease(key, value []byte, lease int64) *Pending {
	w := &Pending{}
	p.write(key, value, lease, false, w.complete)
	return w
}

func (p *Pipeline) write(key, value []byte, lease int64, remove bool, done func(int64, error)) {
	size := len(key) + len(value)
	if p.largest > 0 && size > p.largest {
		done(0, rpctypes.ErrGRPCRequestTooLarge)
		return
	}
	p.mu.Lock()
	for p.used+size > pipelineBytes && p.live > 0 && p.err == nil && !p.closing {
		p.waiting++
		p.room.Wait()
		p.waiting--
	}
	if p.closing || p.err != nil {
		err := ErrPipelineClosed
		if p.err != nil {
			err = fmt.Errorf("%w; it ended with: %w", ErrPipelineClosed, p.err)
		}
		p.mu.Unlock()
		done(0, err)
		return
	}
	op := p.newOp()
	op.Key, op.Value, op.Lease, op.Delete = key, value, lease, remove
	p.pending[op.Id] = pendingWrite{done: done, bytes: size}
	p.used += size
	p.live++
	p.queue = append(p.queue, op)
	first := len(p.queue) == 1
	p.mu.Unlock()
	if first {
		select {
		case p.wake <- struct{}{}:
		default:
		}
	}
}

// newOp takes an operation from the spare ones and gives it a free id.
func (p *Pipeline) newOp() *writepb.WriteOp {
	var op *writepb.WriteOp
	if n := len(p.spare); n > 0 {
		op, p.spare = p.spare[n-1], p.spare[:n-1]
	} else {
		op = &writepb.WriteOp{}
	}
	if n := len(p.free); n > 0 {
		op.Id, p.free = p.free[n-1], p.free[:n-1]
	} else {
		op.Id = uint64(len(p.pending))
		p.pending = append(p.pending, pendingWrite{})
	}
	return op
}

// send packs what is queued into messages until the stream ends.
func (p *Pipeline) send() {
	defer p.loops.Done()
	var batch writepb.WriteBatch
	var taken []*writepb.WriteOp
	for {
		select {
		case <-p.wake:
		case <-p.stream.Context().Done():
			return
		}
		// Let writers that are ready to run add theirs. On an idle machine this returns at once.
		runtime.Gosched()
		p.mu.Lock()
		taken, p.queue = p.queue, taken[:0]
		p.mu.Unlock()
		for rest := taken; len(rest) > 0; {
			n := messageLen(rest)
			batch.Ops = rest[:n]
			if err := p.stream.Send(&batch); err != nil {
				return // receive sees the reason
			}
			rest = rest[n:]
		}
		p.recycle(taken)
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
func (p *Pipeline) recycle(sent []*writepb.WriteOp) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, op := range sent {
		op.Key, op.Value = nil, nil
		p.spare = append(p.spare, op)
		sent[i] = nil
	}
}

// receive hands answers to their writes until the stream ends, then fails what is left.
func (p *Pipeline) receive() {
	defer p.loops.Done()
	var batch writepb.ResultBatch
	var done []pendingWrite
	for {
		if err := p.stream.RecvMsg(&batch); err != nil {
			p.end(err)
			return
		}
		var bad error
		done, bad = p.claim(batch.Results, done[:0])
		for i, r := range batch.Results[:len(done)] {
			done[i].done(r.Revision, resultError(r))
		}
		if bad != nil {
			p.cancel()
			p.end(bad)
			return
		}
	}
}

// claim takes the writes that results answer out of pending. An answer to a write that isn't there means that the server
// can't be trusted with the others either.
func (p *Pipeline) claim(results []*writepb.WriteResult, done []pendingWrite) ([]pendingWrite, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range results {
		if r.Id >= uint64(len(p.pending)) || p.pending[r.Id].done == nil {
			return done, fmt.Errorf("the server answered write %d, which is not in flight", r.Id)
		}
		w := p.pending[r.Id]
		done = append(done, w)
		p.pending[r.Id] = pendingWrite{}
		p.free = append(p.free, r.Id)
		p.used -= w.bytes
		p.live--
	}
	if p.waiting > 0 {
		p.room.Broadcast()
	}
	if p.live == 0 {
		p.idle.Broadcast()
	}
	return done, nil
}

// end fails all that is pending after the stream ended because of cause.
func (p *Pipeline) end(cause error) {
	p.mu.Lock()
	if p.err == nil {
		p.err = cause
	}
	lost := p.pending
	p.pending, p.free, p.live, p.used = nil, nil, 0, 0
	p.room.Broadcast()
	p.idle.Broadcast()
	p.mu.Unlock()
	for _, w := range lost {
		if w.done != nil {
			w.done(0, fmt.Errorf("%w (%w)", ErrOutcomeUnknown, cause))
		}
	}
	p.cancel()
}

// Close waits until every write is answered, then ends the stream. Writes given to the pipeline from now on
// fail with ErrPipelineClosed. The error is what broke the stream, if it broke. To give up on writes in flight, cancel
// the context that the pipeline was opened with.
func (p *Pipeline) Close() error {
	p.mu.Lock()
	p.closing = true
	p.room.Broadcast()
	for p.live > 0 && p.err == nil {
		p.idle.Wait()
	}
	err := p.err
	if err == nil {
		p.err = ErrPipelineClosed
	}
	p.mu.Unlock()
	p.cancel()
	p.loops.Wait()
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

// Pending is a write that is under way.
type Pending struct {
	mu       sync.Mutex
	done     chan struct{} // made when somebody waits
	answered bool
	revision int64
	err      error
}

// Wait returns the store's revision after the write once it is committed and applied, or why it was not. When ctx
// ends first, the write goes on.
func (w *Pending) Wait(ctx context.Context) (revision int64, err error) {
	select {
	case <-w.Done():
		return w.revision, w.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// Done is closed once the write is answered.
func (w *Pending) Done() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.done == nil {
		w.done = make(chan struct{})
		if w.answered {
			close(w.done)
		}
	}
	return w.done
}

func (w *Pending) complete(revision int64, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.revision, w.err, w.answered = revision, err, true
	if w.done != nil {
		close(w.done)
	}
}
