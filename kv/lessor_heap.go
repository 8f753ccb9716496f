package kv

import (
	"cmp"
	"container/heap"
	"math"
	"slices"
	"time"
)

// PromotedExpiries is how many leases expire in a second, at most, of those that a new leader takes over: as
// in etcd three quarters of what it revokes in a second.
const PromotedExpiries = 750

// leaseBlock is how many leases that were taken over are allocated at once.
const leaseBlock = 256

// lease is a lease as the leader counts it. Its times count from the lessor's start.
type lease struct {
	id, ttl int64 // seconds
	// renewed is when it had its full time last; in a lease taken over from another leader, when it would
	// have had it to be left with what it has.
	renewed time.Duration
	// recordedAt is when what is left was last recorded, or when it was granted or taken over.
	recordedAt time.Duration
	// retry is when it is handed out again after its revocation has failed.
	retry time.Duration
	due   time.Duration // by which the heap is ordered
	index int32         // in the heap; -1 while it is not in it
	// checkpoints counts them.
	checkpoints uint16
	// recorded says that a checkpoint of it is in the log, or may be on its way there.
	recorded bool
}

func (e *lease) expiry() time.Duration { return after(e.renewed, seconds(e.ttl)) }

// next is when the next thing is due for the lease.
func (e *lease) next() time.Duration {
	expiry := max(e.expiry(), e.retry)
	if at := e.nextCheckpoint(); at < expiry {
		return at
	}
	return expiry
}

// seconds is ttl as a duration, or the longest one there is.
func seconds(ttl int64) time.Duration {
	if ttl > math.MaxInt64/int64(time.Second) {
		return math.MaxInt64
	}
	return time.Duration(ttl) * time.Second
}

// after is at+d, or the last time that there is.
func after(at, d time.Duration) time.Duration {
	if at > 0 && d > math.MaxInt64-at {
		return math.MaxInt64
	}
	return at + d
}

// fill takes over the leases that were granted before, with their time counting from the time from on. mu is
// held.
func (l *Lessor) fill(granted map[int64]leaseTerm, from time.Duration) {
	l.heap, l.leases = make(leaseHeap, 0, len(granted)), make(map[int64]*lease, len(granted))
	now := l.now()
	var block []lease // spares most of the allocations, of which there may be a million
	for id, term := range granted {
		if len(block) == 0 {
			block = make([]lease, min(leaseBlock, len(granted)))
		}
		e := &block[0]
		block = block[1:]
		*e = lease{id: id, ttl: term.ttl, recorded: term.remaining > 0, recordedAt: now}
		e.renewed = from - seconds(term.ttl) + seconds(term.left())
		e.due = e.expiry()
		l.leases[id] = e
		l.heap = append(l.heap, e)
	}
	slices.SortFunc(l.heap, func(a, b *lease) int { return cmp.Compare(a.due, b.due) })
	for i, e := range l.heap {
		if i >= PromotedExpiries {
			if soonest := after(l.heap[i-PromotedExpiries].due, time.Second); soonest > e.due {
				e.renewed += soonest - e.due
				e.due = soonest
			}
		}
	}
	// In the order of their expiries; what is due before, checkpoints, is not.
	for i, e := range l.heap {
		e.due, e.index = e.next(), int32(i)
	}
	heap.Init(&l.heap)
}

// push puts a lease into the heap. mu is held.
func (l *Lessor) push(e *lease, due time.Duration) {
	e.due = due
	heap.Push(&l.heap, e)
}

// remove takes a lease out of the heap, if it is in it. mu is held.
func (l *Lessor) remove(e *lease) {
	if e.index >= 0 {
		heap.Remove(&l.heap, int(e.index))
	}
}

// expiredLeases are offered to the owner.
type expiredLeases struct {
	promotion int
	ids       []int64
}

// take gathers expired leases for an offer, if the owner has taken the last one, and has checkpoints that are
// due recorded. An offer of an earlier promotion is dropped. It returns when to look again, if nothing is
// taken before.
//
// Leases are not moved in the heap when they are renewed, which is much more often than they are looked at
// here.
func (l *Lessor) take(offer *expiredLeases) (wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if offer.promotion != l.promotions {
		*offer = expiredLeases{promotion: l.promotions}
	}
	taken := len(offer.ids) == 0
	now, deferred := l.now(), 0
	var checkpoints []Checkpoint
	defer func() { l.propose(checkpoints) }()
	for len(l.heap) > 0 && l.heap[0].due <= now {
		e := l.heap[0]
		switch next := e.next(); {
		case max(e.expiry(), e.retry) <= now:
			if !taken || len(offer.ids) == ExpiryBatch {
				return time.Hour // until the owner takes them
			}
			heap.Pop(&l.heap)
			offer.ids = append(offer.ids, e.id)
			continue
		case next > now: // it was renewed
			e.due = next
		case l.pace > now+time.Second: // others are recorded first
			e.due = min(now+time.Duration(1+deferred/checkpointsPerSecond)*time.Second, e.expiry())
			deferred++
		default:
			l.pace = max(l.pace, now) + time.Second/checkpointsPerSecond
			checkpoints = append(checkpoints, e.checkpoint(now))
			e.due = e.next()
		}
		heap.Fix(&l.heap, 0)
	}
	if len(l.heap) == 0 {
		return time.Hour
	}
	return min(l.heap[0].due-now, time.Hour)
}

// leaseHeap is a heap of leases by when they are due.
type leaseHeap []*lease

func (h leaseHeap) Len() int           { return len(h) }
func (h leaseHeap) Less(i, j int) bool { return h[i].due < h[j].due }

func (h leaseHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = int32(i), int32(j)
}

func (h *leaseHeap) Push(x any) {
	e := x.(*lease)
	e.index = int32(len(*h))
	*h = append(*h, e)
}

func (h *leaseHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	e.index = -1
	return e
}
