package kv

import (
	"container/heap"
	"context"
	"errors"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// ErrNotPromoted is returned by a lessor that doesn't count time (any more).
var ErrNotPromoted = errors.New("kv: this member does not count the leases' time")

// Lessor counts the time of the leases on the member that leads: it knows when each one expires, and hands
// the IDs of those that did to its owner, who proposes their revocation. While it is not promoted it counts
// nothing and expires nothing.
//
// What is left of a lease reaches the next leader through checkpoints, which the owner proposes too. They
// are for leases that are not renewed for long: one that is renewed in time never has one.
//
// Invariants:
//  1. While it is promoted, every granted lease is either in the heap, at a time that is not later than the
//     next thing that is due for it, or pending: handed to the owner, who has not said yet what became of it.
//  2. A lease that has expired is never renewed, not even if its revocation failed: some client may have been
//     told already that it is gone.
//  3. What is offered on the channel fell due under the present promotion: the offer is taken back when that
//     ends.
//  4. A renewal is answered only when no checkpoint of the lease, in the log or on its way there, says that
//     less than its full time is left: the next leader must not cut short what a client was promised.
type Lessor struct {
	store *Store
	clock clock.Clock
	start time.Time // from where the times of leases count

	mu         sync.Mutex
	promoted   bool
	promotions int           // counts promotions and their ends
	demoted    chan struct{} // closed at the end of the promotion
	leases     map[int64]*lease
	heap       leaseHeap
	ended      map[int64]chan struct{} // of expired leases that a renewal waits for; closed when revoked
	wake       chan struct{}
	pace       time.Duration // until when the checkpoints of late would take at their greatest rate

	record  func([]Checkpoint)
	expired chan []int64
	done    chan struct{}
	running sync.WaitGroup
	closed  sync.Once
}

// ExpiryBatch is the greatest number of leases that are handed out at once.
const ExpiryBatch = 256

// NewLessor makes the lessor of a store, not promoted. A store has one lessor at a time. The caller closes
// it.
//
// record is called with at most CheckpointBatch checkpoints. It must queue the proposal of a command of them
// (see CheckpointCommand) before it returns, without waiting, and not call the lessor; what is proposed
// later must come later in the log. If the proposal fails, nothing needs to be done.
func NewLessor(s *Store, c clock.Clock, record func([]Checkpoint)) *Lessor {
	l := &Lessor{
		store: s, clock: c, start: c.Now(), leases: map[int64]*lease{}, ended: map[int64]chan struct{}{},
		wake: make(chan struct{}, 1), record: record, expired: make(chan []int64), done: make(chan struct{}),
	}
	l.running.Add(1)
	go l.run()
	return l
}

// Close ends the lessor and waits for its goroutine.
func (l *Lessor) Close() {
	l.closed.Do(func() {
		l.Demote()
		close(l.done)
		l.running.Wait()
	})
}

// Expired returns the channel on which expired leases are handed out, at most ExpiryBatch at once. The owner
// proposes the revocation of each and calls Retry for those for which that failed.
func (l *Lessor) Expired() <-chan []int64 { return l.expired }

// Promote begins to count: each lease has what was left of it at its last checkpoint, or all of its time, and
// extend on top, since the clients had nobody to send their keepalives to during the election. No more than
// PromotedExpiries of them expire in any one second: after a long time without a leader, and after one in
// which clients could not renew, the rest live a little longer.
func (l *Lessor) Promote(extend time.Duration) {
	l.store.leases.observe(l, func(granted map[int64]leaseTerm) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.end()
		l.promoted, l.demoted = true, make(chan struct{})
		l.fill(granted, l.now()+extend)
		l.rouse()
	})
}

// Demote ends the counting.
func (l *Lessor) Demote() {
	l.store.leases.observe(nil, func(map[int64]leaseTerm) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.end()
		l.rouse()
	})
}

// end ends the present promotion, if there is one. mu is held.
func (l *Lessor) end() {
	if l.promoted {
		close(l.demoted)
	}
	l.promoted = false
	l.promotions++
	l.leases, l.heap, l.ended = map[int64]*lease{}, nil, map[int64]chan struct{}{}
}

// Renew gives a lease its full time to live again and returns it, in seconds. If there is a checkpoint of it
// that says otherwise, clear is called to have that taken back, by a checkpoint of its full time, and has to
// return once it is. For a lease that has expired Renew waits until it is revoked.
//
// The errors are ErrLeaseNotFound for a lease that is not known, or was revoked; ErrNotPromoted, if
// necessary after waiting; ctx's; and those of clear.
func (l *Lessor) Renew(ctx context.Context, id int64, clear func(Checkpoint) error) (ttl int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e, err := l.living(ctx, id)
	if err != nil {
		return 0, err
	}
	for e.recorded {
		if err := l.clear(e, clear); err != nil {
			return 0, err
		}
		if e, err = l.living(ctx, id); err != nil {
			return 0, err
		}
	}
	e.renewed = l.now()
	if next := e.next(); e.index >= 0 && next < e.due { // a promotion had given it more than its full time
		e.due = next
		heap.Fix(&l.heap, int(e.index))
		l.rouse()
	}
	return e.ttl, nil
}

// living returns a lease that has not expired; for one that has it waits for its end. mu is held, and given
// up meanwhile.
func (l *Lessor) living(ctx context.Context, id int64) (*lease, error) {
	e := l.leases[id]
	switch {
	case !l.promoted:
		return nil, ErrNotPromoted
	case e == nil:
		return nil, ErrLeaseNotFound
	case e.expiry() > l.now():
		return e, nil
	}
	revoked := l.ended[id]
	if revoked == nil {
		revoked = make(chan struct{})
		l.ended[id] = revoked
	}
	demoted := l.demoted
	l.mu.Unlock()
	defer l.mu.Lock()
	select {
	case <-revoked:
		return nil, ErrLeaseNotFound
	case <-demoted:
		return nil, ErrNotPromoted
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// Remaining returns how long a lease has still to live; 0 or less if it has expired and is not revoked yet.
// It returns false for a lease that is not known, or if the lessor is not promoted.
func (l *Lessor) Remaining(id int64) (time.Duration, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.leases[id]
	if e == nil {
		return 0, false
	}
	return e.expiry() - l.now(), true
}

// Retry hands leases out again after wait, those of them that are still granted and pending.
func (l *Lessor) Retry(ids []int64, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.now() + wait
	for _, id := range ids {
		if e := l.leases[id]; e != nil && e.index < 0 {
			e.retry = at
			l.push(e, at)
		}
	}
	l.rouse()
}

func (l *Lessor) leaseGranted(id, ttl int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.promoted {
		return
	}
	e := &lease{id: id, ttl: ttl, renewed: l.now()}
	e.recordedAt = e.renewed
	l.leases[id] = e
	if l.push(e, e.next()); e.index == 0 {
		l.rouse()
	}
}

func (l *Lessor) leaseRevoked(id int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.leases[id]
	if e == nil {
		return
	}
	delete(l.leases, id)
	l.remove(e)
	if revoked := l.ended[id]; revoked != nil {
		close(revoked)
		delete(l.ended, id)
	}
}

func (l *Lessor) now() time.Duration { return l.clock.Since(l.start) }

// rouse makes the goroutine look at the heap again. mu is held.
func (l *Lessor) rouse() {
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (l *Lessor) run() {
	defer l.running.Done()
	timer := l.clock.NewTimer(time.Hour)
	defer timer.Stop()
	var offer expiredLeases
	for {
		timer.Reset(l.take(&offer))
		var expired chan []int64 // nil: nothing is offered
		if len(offer.ids) > 0 {
			expired = l.expired
		}
		select {
		case expired <- offer.ids:
			offer.ids = nil
		case <-timer.C():
		case <-l.wake:
		case <-l.done:
			return
		}
	}
}
