package kv

import (
	"container/heap"
	"math"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// Lessor counts the time of the leases on the member that leads: it knows when each one expires, and hands
// the IDs of those that did to its owner, who proposes their revocation. Nothing of it is replicated. While
// it is not promoted it counts nothing and expires nothing.
//
// Invariants:
//  1. While it is promoted, every granted lease is either in the heap, or pending: handed to the owner, who
//     has not said yet what became of it.
//  2. A lease that has expired is never renewed, not even if its revocation failed: some client may have been
//     told already that it is gone.
//  3. What is offered on the channel expired under the present promotion: the offer is taken back when that
//     ends.
type Lessor struct {
	store *Store
	clock clock.Clock

	mu       sync.Mutex
	promoted bool
	leases   map[int64]*lease
	heap     leaseHeap
	wake     chan struct{}

	expired chan []int64
	done    chan struct{}
	running sync.WaitGroup
	closed  sync.Once
}

// lease is a lease as the leader counts it.
type lease struct {
	id, ttl int64
	expiry  time.Time
	due     time.Time // when to hand it out: at its expiry, or later if that was tried before
	place   int       // in the heap; -1 while it is pending
}

// ExpiryBatch is the greatest number of leases that are handed out at once.
const ExpiryBatch = 256

// NewLessor makes the lessor of a store, not promoted. A store has one lessor at a time. The caller closes
// it.
func NewLessor(s *Store, c clock.Clock) *Lessor {
	l := &Lessor{
		store: s, clock: c, leases: map[int64]*lease{},
		wake: make(chan struct{}, 1), expired: make(chan []int64), done: make(chan struct{}),
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

// Promote begins to count, with the full time to live of every lease and extend on top: the clients had
// nobody to send their keepalives to during the election.
func (l *Lessor) Promote(extend time.Duration) {
	l.store.leases.observe(l, func(granted map[int64]int64) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.promoted = true
		l.reset()
		from := l.clock.Now().Add(extend)
		for id, ttl := range granted {
			l.add(id, ttl, from)
		}
		l.rouse()
	})
}

// Demote ends the counting.
func (l *Lessor) Demote() {
	l.store.leases.observe(nil, func(map[int64]int64) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.promoted = false
		l.reset()
		l.rouse()
	})
}

func (l *Lessor) reset() {
	l.leases = map[int64]*lease{}
	l.heap = nil
}

// Renew gives a lease its full time to live again and returns it, in seconds. It returns ErrLeaseNotFound for
// a lease that is not known, has expired, or if the lessor is not promoted.
func (l *Lessor) Renew(id int64) (ttl int64, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.leases[id]
	now := l.clock.Now()
	if e == nil || !e.expiry.After(now) {
		return 0, ErrLeaseNotFound
	}
	e.expiry = now.Add(seconds(e.ttl))
	e.due = e.expiry
	heap.Fix(&l.heap, e.place)
	return e.ttl, nil
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
	return e.expiry.Sub(l.clock.Now()), true
}

// Retry hands leases out again after wait, those of them that are still granted and pending.
func (l *Lessor) Retry(ids []int64, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	at := l.clock.Now().Add(wait)
	for _, id := range ids {
		if e := l.leases[id]; e != nil && e.place < 0 {
			e.due = at
			heap.Push(&l.heap, e)
		}
	}
	l.rouse()
}

func (l *Lessor) leaseGranted(id, ttl int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.promoted {
		l.add(id, ttl, l.clock.Now())
		if l.leases[id].place == 0 {
			l.rouse()
		}
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
	if e.place >= 0 {
		heap.Remove(&l.heap, e.place)
	}
}

// add counts a lease from the time from on. mu is held.
func (l *Lessor) add(id, ttl int64, from time.Time) {
	expiry := from.Add(seconds(ttl))
	e := &lease{id: id, ttl: ttl, expiry: expiry, due: expiry}
	l.leases[id] = e
	heap.Push(&l.heap, e)
}

// seconds is ttl as a duration, or the longest one there is.
func seconds(ttl int64) time.Duration {
	if ttl > math.MaxInt64/int64(time.Second) {
		return math.MaxInt64
	}
	return time.Duration(ttl) * time.Second
}

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
	for {
		due, wait := l.takeDue()
		if len(due) > 0 {
			select {
			case l.expired <- ids(due):
			case <-l.wake:
				l.putBack(due)
			case <-l.done:
				return
			}
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C():
		case <-l.wake:
		case <-l.done:
			return
		}
	}
}

// takeDue takes leases that are due off the heap, and if there are none tells how long there will be none.
func (l *Lessor) takeDue() (due []*lease, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.clock.Now()
	for len(l.heap) > 0 && len(due) < ExpiryBatch && !l.heap[0].due.After(now) {
		due = append(due, heap.Pop(&l.heap).(*lease))
	}
	if len(due) > 0 || len(l.heap) == 0 {
		return due, time.Hour
	}
	return nil, min(l.heap[0].due.Sub(now), time.Hour)
}

// putBack takes an offer back that nobody has taken.
func (l *Lessor) putBack(due []*lease) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range due {
		if l.leases[e.id] == e && e.place < 0 {
			heap.Push(&l.heap, e)
		}
	}
}

func ids(leases []*lease) []int64 {
	all := make([]int64, len(leases))
	for i, e := range leases {
		all[i] = e.id
	}
	return all
}

// leaseHeap is a heap of leases by when they are due.
type leaseHeap []*lease

func (h leaseHeap) Len() int           { return len(h) }
func (h leaseHeap) Less(i, j int) bool { return h[i].due.Before(h[j].due) }

func (h leaseHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *leaseHeap) Push(x any) {
	e := x.(*lease)
	e.place = len(*h)
	*h = append(*h, e)
}

func (h *leaseHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	e.place = -1
	return e
}
