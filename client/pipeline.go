package client

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
)

// ErrOutcomeUnknown is the error of writes that may have been committed or not: they were under way when the
// stream broke, or when the cluster lost its leader. Read the key to find out, or write again what may be written twice.
var ErrOutcomeUnknown = errors.New("the outcome of the write is unknown")

// ErrPipelineClosed is the error of writes handed to a pipeline that was closed or had broken.
var ErrPipelineClosed = errors.New("the pipeline is closed; open another with Client.Pipeline")

// Pipeline is a row of writes with many in flight at once, for writers that need not wait for one write before
// the next. Writes are proposed in the order in which they were given to the pipeline; they are packed
// into messages as they come: a write on an idle pipeline leaves at once, those given meanwhile leave together.
//
// A pipeline that was opened at another member goes to the leader, to spare the cluster a trip. It keeps its stream to the member that
// was asked: should the leader be lost, the writes that are in flight have an unknown outcome, and those after them go on from there.
//
//  1. Every write that was accepted is answered exactly once: committed and applied, refused, or ErrOutcomeUnknown.
//  2. Writes go to one stream, and to the next only once that has ended: no write that was accepted is made twice.
//
// All methods are safe for concurrent use.
type Pipeline struct {
	current atomic.Pointer[writeStream]
	streams []*writeStream // all of them, the first to be used last

	mu     sync.Mutex
	closed bool
	spare  *writeStream // takes over from current; nil: none does
}

// Pipeline opens a stream of writes to one of the endpoints, and to the leader if that is another. ctx bounds the life of the
// pipeline: when it ends, writes in flight fail with ErrOutcomeUnknown. Against a server without the service (a plain etcd) the
// error's gRPC code is Unimplemented.
func (c *Client) Pipeline(ctx context.Context) (*Pipeline, error) {
	asked, err := openStream(ctx, c.etcd.ActiveConnection())
	if err != nil {
		return nil, err
	}
	p := &Pipeline{streams: []*writeStream{asked}}
	p.current.Store(asked)
	if leader := c.openAtLeader(ctx, asked.header); leader != nil {
		p.streams = append(p.streams, leader)
		p.current.Store(leader)
		p.spare = asked
	}
	for _, s := range p.streams {
		s.start()
	}
	return p, nil
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
	for {
		s := p.current.Load()
		err := s.write(key, value, lease, remove, done)
		if err == nil {
			return
		}
		if !p.goOnAfter(s) {
			done(0, err)
			return
		}
	}
}

// goOnAfter tells whether there is another stream for the writes that one which has ended doesn't take.
func (p *Pipeline) goOnAfter(ended *writeStream) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return false
	case p.current.Load() != ended:
		return true
	case p.spare == nil:
		return false
	}
	p.current.Store(p.spare)
	p.spare = nil
	return true
}

// Close waits until every write is answered, then ends the pipeline. Writes given to it from now on
// fail with ErrPipelineClosed. The error is what broke the stream, if it broke. To give up on writes in flight, cancel
// the context that the pipeline was opened with.
func (p *Pipeline) Close() error {
	p.mu.Lock()
	p.closed = true
	current := p.current.Load()
	p.mu.Unlock()
	err := current.close()
	for _, s := range p.streams {
		if s != current {
			_ = s.close() // nothing is in flight on it
		}
	}
	return err
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
