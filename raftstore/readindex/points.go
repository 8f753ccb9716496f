package readindex

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/failure"
	"github.com/ctlplane/ctlplane/supervise"
)

const (
	// groupSize is how many keys one goroutine looks up, one after the other: enough to share the cost of an iterator, and not
	// too many where each has to be read from the disk.
	groupSize = 16
	// workers is how many groups are looked up at a time. Most of them wait for the disk, if there is something to read there.
	workers = 8
	// statePatience is how long the next question waits for the state to have the last answer.
	statePatience = time.Second
)

var errStateBehind = errors.New("the state is behind for longer than the next question waits")

// Points answers linearizable reads of single keys. Readers that come while a question is asked are a batch: the next question is for
// all of them, and they share iterators. A few goroutines that last look the keys up, because that takes a stack which each reader
// would have to grow for its one key.
//
// Invariants:
//  1. Nobody joins a batch once its question has begun, so that no reader gets an answer from before it came.
//  2. A reader waits for no longer than its context and, where nobody leads, its own timeout allow. So a batch that the state is
//     behind of waits for that apart: of a member that was cut off from the others, it may be behind until it is back.
//  3. A reader that has left a batch which nobody has taken takes no room in it.
//  4. A read that panics fails for its reader, and no other.
type Points struct {
	options PointsOptions
	groups  chan group
	waiting chan struct{} // has a token while there is a batch to take

	mu     sync.Mutex
	gather *batch // not taken yet; nil while nobody waits
}

// PointsOptions are what Points needs of a member. All of it is required.
type PointsOptions struct {
	Life   context.Context
	Logger *slog.Logger
	// Timeout is how long a reader waits for a leader.
	Timeout time.Duration
	// Ask returns an index that covers all that was acknowledged before the call. It tries until ctx ends, and then fails with its cause.
	Ask func(ctx context.Context) (index uint64, err error)
	// Reach returns once reads see what is at the index. It tries until ctx ends, and then fails with its cause.
	Reach func(ctx context.Context, index uint64) error
	// LookUp answers reads. An error of its own is of all of them.
	LookUp func([]*kv.Point) error
}

// batch is readers that are answered together.
type batch struct {
	readers []*reader
	expires time.Time     // when the time of the first is up
	index   uint64        // the answer to its question
	done    chan struct{} // closed when each is answered, or err is set
	err     error         // the question's
	left    atomic.Int64  // groups that are not looked up yet
}

// reader is one who waits for its answer.
type reader struct {
	point   kv.Point
	expires time.Time

	// Guarded by mu.
	in   *batch
	at   int // in its batch
	gone bool
}

// group is a part of a batch that one goroutine looks up.
type group struct {
	of     *batch
	points []*kv.Point
}

// NewPoints answers nobody before Run.
func NewPoints(o PointsOptions) *Points {
	return &Points{options: o, groups: make(chan group), waiting: make(chan struct{}, 1)}
}

// Read answers a request that kv.IsPoint. The request must not be changed any more, not even when ctx has ended.
func (p *Points) Read(ctx context.Context, r *pb.RangeRequest) (*pb.RangeResponse, error) {
	mine := &reader{point: kv.Point{Request: r}, expires: time.Now().Add(p.options.Timeout)}
	joined := p.join(mine)
	for {
		select {
		case <-joined.done:
		case <-ctx.Done():
			p.leave(mine)
			return nil, context.Cause(ctx)
		case <-p.options.Life.Done():
			return nil, failure.ErrClosed
		}
		if joined.err == nil {
			return mine.point.Response, mine.point.Err
		}
		next := p.batchOf(mine)
		if next == joined {
			return nil, joined.err
		}
		joined = next
	}
}

func (p *Points) join(r *reader) *batch {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.add(r)
	return r.in
}

func (p *Points) batchOf(r *reader) *batch {
	p.mu.Lock()
	defer p.mu.Unlock()
	return r.in
}

// add puts a reader into the batch that gathers. mu is held.
func (p *Points) add(r *reader) {
	b := p.gather
	if b == nil {
		b = &batch{expires: r.expires, done: make(chan struct{})}
		p.gather = b
		p.waiting <- struct{}{} // has room: the last token was taken before its batch was
	}
	if r.expires.Before(b.expires) {
		b.expires = r.expires
	}
	r.in, r.at = b, len(b.readers)
	b.readers = append(b.readers, r)
}

func (p *Points) leave(r *reader) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r.gone = true
	b := r.in
	if p.gather != b {
		return // it is being answered
	}
	last := len(b.readers) - 1
	b.readers[r.at], b.readers[last].at = b.readers[last], r.at
	b.readers[last] = nil
	b.readers = b.readers[:last]
}

// Run answers readers until life ends.
func (p *Points) Run() {
	var running sync.WaitGroup
	defer running.Wait()
	for range workers {
		running.Go(p.work)
	}
	for {
		select {
		case <-p.waiting:
		case <-p.options.Life.Done():
			return
		}
		b := p.take()
		err := p.contained(func() error { return p.ask(b) })
		if errors.Is(err, errStateBehind) {
			running.Go(func() {
				p.settle(b, p.contained(func() error { return p.options.Reach(p.options.Life, b.index) }))
			})
			continue
		}
		p.settle(b, err)
	}
}

// contained makes an error of a panic.
func (p *Points) contained(call func() error) error {
	return supervise.Call("read", p.options.Logger, call)
}

// settle has the readers of a batch answered, or fails them.
func (p *Points) settle(b *batch, err error) {
	if err == nil {
		p.hand(b)
		return
	}
	b.err = err
	if errors.Is(err, failure.ErrNoLeader) {
		p.postpone(b)
	}
	close(b.done)
}

func (p *Points) take() *batch {
	p.mu.Lock()
	defer p.mu.Unlock()
	b := p.gather
	p.gather = nil
	return b
}

// ask returns once reads see all that was acknowledged before the batch was taken, or with errStateBehind if they don't see what is
// at its index yet.
func (p *Points) ask(b *batch) (err error) {
	ctx, cancel := context.WithDeadlineCause(p.options.Life, b.expires, failure.ErrNoLeader)
	defer cancel()
	if b.index, err = p.options.Ask(ctx); err != nil {
		return err
	}
	reaching, cancel := context.WithTimeoutCause(p.options.Life, statePatience, errStateBehind)
	defer cancel()
	return p.options.Reach(reaching, b.index)
}

// postpone moves the readers of a batch whose own time is not up to the next.
func (p *Points) postpone(b *batch) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, r := range b.readers {
		if !r.gone && now.Before(r.expires) {
			p.add(r)
		}
	}
}

// hand gives a batch to the workers, and waits while all of them are busy.
func (p *Points) hand(b *batch) {
	b.left.Store(int64(len(b.readers)+groupSize-1) / groupSize)
	for readers := range slices.Chunk(b.readers, groupSize) {
		points := make([]*kv.Point, len(readers))
		for i, r := range readers {
			points[i] = &r.point
		}
		select {
		case p.groups <- group{of: b, points: points}:
		case <-p.options.Life.Done():
			return
		}
	}
}

// work answers groups until life ends.
func (p *Points) work() {
	for {
		select {
		case g := <-p.groups:
			if !p.answer(g.points) { // a panic: whose read is it?
				for i := range g.points {
					p.answer(g.points[i : i+1])
				}
			}
			if g.of.left.Add(-1) == 0 {
				close(g.of.done)
			}
		case <-p.options.Life.Done():
			return
		}
	}
}

// answer answers all of the points, and tells whether that went without a panic.
func (p *Points) answer(points []*kv.Point) bool {
	err := supervise.Call("read", p.options.Logger, func() error { return p.options.LookUp(points) })
	if err == nil {
		return true
	}
	for _, point := range points {
		point.Response, point.Err = nil, err
	}
	var fault *supervise.PanicError
	return !errors.As(err, &fault)
}
