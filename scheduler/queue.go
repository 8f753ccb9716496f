package scheduler

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
)

const (
	firstBackoff = 1 * time.Second
	maxBackoff   = 10 * time.Second
	// maxUnschedulable is how long a pod waits for a change that helps it before it is tried anyway.
	maxUnschedulable = 5 * time.Minute
)

// entryState is where a pod in the queue is.
type entryState int

const (
	active        entryState = iota // to be placed next, in its group
	backoff                         // to become active at its due time
	unschedulable                   // waits for a change that helps it, or its due time
	inFlight                        // taken out to be placed
)

// entry is one pod in the queue; its fields are the queue's, but for info while it is in flight.
type entry struct {
	info     *PodInfo
	state    entryState
	attempts int
	arrival  int64 // order among active pods
	due      time.Time
	position int       // in the queue's waiting
	failed   time.Time // when the last attempt failed
	since    time.Time // when it was taken out
	newest   *PodInfo  // what was seen of the pod while it is in flight; nil: nothing new
	missed   bool      // while it is in flight, a node was seen that could take it
}

// queue holds the pods that have no node.
//
//  1. Each pod is in one state. Active pods are in groups of one shape and priority, in order of
//     arrival; backoff and unschedulable pods are in waiting, by due time.
//  2. Groups come out by priority, then by the arrival of their first pod.
//  3. A pod that failed waits for its backoff, whatever happens. One that no node could take waits
//     in addition until a node is seen that could; if that was seen while it was in flight, it waits
//     for its backoff only.
//  4. Entries that a node's change is asked for, unschedulable and in flight, are in concerned, by shape.
//
// It is safe for concurrent use.
type queue struct {
	clock clock.Clock

	mu        sync.Mutex
	entries   map[types.UID]*entry
	groups    map[groupKey]*group
	order     groupHeap
	waiting   waitingHeap
	concerned map[string]map[*entry]struct{}
	arrivals  int64
	wake      chan struct{} // holds one value when there is something new for pop to look at
}

func newQueue(c clock.Clock) *queue {
	return &queue{
		clock:     c,
		entries:   map[types.UID]*entry{},
		groups:    map[groupKey]*group{},
		concerned: map[string]map[*entry]struct{}{},
		wake:      make(chan struct{}, 1),
	}
}

// set takes over a pod that was seen without a node.
func (q *queue) set(info *PodInfo) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e, ok := q.entries[info.Pod.UID]; ok {
		q.replace(e, info)
		return
	}
	e := &entry{info: info}
	q.entries[info.Pod.UID] = e
	q.activate(e)
}

// update is set for a pod that may be on its way to a node: it is not taken in anew.
func (q *queue) update(info *PodInfo) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e, ok := q.entries[info.Pod.UID]; ok {
		q.replace(e, info)
	}
}

func (q *queue) replace(e *entry, info *PodInfo) {
	switch {
	case e.state == inFlight:
		e.newest = info
	case e.info.shape == info.shape && e.info.Priority == info.Priority:
		e.info = info
	default:
		// It asks for something else now: what it waited for means nothing any more.
		q.leave(e)
		e.info = info
		q.wait(e, backoff)
	}
}

// remove forgets a pod that is gone or has got a node.
func (q *queue) remove(uid types.UID) {
	q.mu.Lock()
	defer q.mu.Unlock()
	e, ok := q.entries[uid]
	if !ok {
		return
	}
	q.leave(e) // who has it in flight will find it gone
	delete(q.entries, uid)
}

// pop takes out the next pods, at most limit, all of one shape and priority. It waits while there are
// none, and gives nil when ctx ends.
func (q *queue) pop(ctx context.Context, limit int) []*entry {
	for {
		pods, due := q.take(limit)
		if len(pods) > 0 || ctx.Err() != nil {
			return pods
		}
		if !q.sleep(ctx, due) {
			return nil
		}
	}
}

// sleep waits until there may be something to take: due is when, if nothing else happens; zero: never.
func (q *queue) sleep(ctx context.Context, due time.Time) bool {
	var expired <-chan time.Time
	if !due.IsZero() {
		timer := q.clock.NewTimer(due.Sub(q.clock.Now()))
		defer timer.Stop()
		expired = timer.C()
	}
	select {
	case <-q.wake:
		return true
	case <-expired:
		return true
	case <-ctx.Done():
		return false
	}
}

// take is pop without waiting; with nothing to take it says when there will be.
func (q *queue) take(limit int) (pods []*entry, due time.Time) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := q.clock.Now()
	for len(q.waiting) > 0 && !q.waiting[0].due.After(now) {
		e := q.waiting[0]
		q.leave(e)
		q.activate(e)
	}
	if len(q.order) == 0 {
		if len(q.waiting) > 0 {
			due = q.waiting[0].due
		}
		return nil, due
	}
	g := q.order[0]
	n := min(limit, len(g.pods))
	pods = append(pods, g.pods[:n]...)
	q.shorten(g, n)
	for _, e := range pods {
		e.state, e.since, e.missed = inFlight, now, false
		e.attempts++
		q.concern(e)
	}
	return pods, time.Time{}
}

// done ends the flight of a pod that needs no node any more.
func (q *queue) done(e *entry) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.entries[e.info.Pod.UID] == e {
		q.leave(e)
		delete(q.entries, e.info.Pod.UID)
	}
}

// failed ends the flight of a pod that has got no node. noNode says that no node could take it, as
// opposed to a placement that went wrong. It is false when the pod has gone in the meantime.
func (q *queue) failed(e *entry, noNode bool) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.entries[e.info.Pod.UID] != e {
		return false
	}
	e.failed = q.clock.Now()
	state := backoff
	if noNode && !e.missed && (e.newest == nil || e.newest.shape == e.info.shape) {
		state = unschedulable
	}
	q.leave(e)
	if e.newest != nil {
		e.info, e.newest = e.newest, nil
	}
	q.wait(e, state)
	return true
}

// nodeChanged announces that a node may take more than before: unschedulable pods that it can take
// are to be tried again. feasible is asked once for each shape.
func (q *queue) nodeChanged(feasible func(*PodInfo) bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, alike := range q.concerned {
		asked, answer := false, false
		for e := range alike {
			if !asked {
				asked, answer = true, feasible(e.info)
			}
			if !answer {
				break
			}
			if e.state == inFlight {
				e.missed = true
				continue
			}
			q.leave(e)
			q.wait(e, backoff)
		}
	}
}

// counts gives the number of pods in each state.
func (q *queue) counts() map[entryState]int {
	q.mu.Lock()
	defer q.mu.Unlock()
	counts := map[entryState]int{}
	for _, e := range q.entries {
		counts[e.state]++
	}
	return counts
}

// wait puts an entry that is nowhere into waiting, or makes it active when its backoff is over.
func (q *queue) wait(e *entry, state entryState) {
	e.due = e.failed.Add(backoffAfter(e.attempts))
	if state == unschedulable {
		e.due = e.failed.Add(maxUnschedulable)
	}
	if !e.due.After(q.clock.Now()) {
		q.activate(e)
		return
	}
	e.state = state
	heap.Push(&q.waiting, e)
	if state == unschedulable {
		q.concern(e)
	}
	q.notify()
}

// leave takes an entry out of where its state has it, so that it is nowhere.
func (q *queue) leave(e *entry) {
	switch e.state {
	case active:
		q.deactivate(e)
		return
	case backoff, unschedulable:
		heap.Remove(&q.waiting, e.position)
	case inFlight: // it is in concerned only
	}
	if alike := q.concerned[e.info.shape]; alike != nil {
		if delete(alike, e); len(alike) == 0 {
			delete(q.concerned, e.info.shape)
		}
	}
}

func (q *queue) concern(e *entry) {
	alike := q.concerned[e.info.shape]
	if alike == nil {
		alike = map[*entry]struct{}{}
		q.concerned[e.info.shape] = alike
	}
	alike[e] = struct{}{}
}

// activate puts an entry that is nowhere at the end of its group.
func (q *queue) activate(e *entry) {
	q.arrivals++
	e.state, e.arrival = active, q.arrivals
	key := groupKey{e.info.shape, e.info.Priority}
	g, ok := q.groups[key]
	if !ok {
		g = &group{key: key}
		q.groups[key] = g
	}
	g.pods = append(g.pods, e)
	if !ok {
		heap.Push(&q.order, g)
	}
	q.notify()
}

func (q *queue) deactivate(e *entry) {
	g := q.groups[groupKey{e.info.shape, e.info.Priority}]
	for i := range g.pods {
		if g.pods[i] == e {
			copy(g.pods[1:i+1], g.pods[:i])
			q.shorten(g, 1)
			return
		}
	}
}

// shorten takes the first n pods off a group, which goes when it is empty.
func (q *queue) shorten(g *group, n int) {
	clear(g.pods[:n])
	g.pods = g.pods[n:]
	if len(g.pods) == 0 {
		heap.Remove(&q.order, g.position)
		delete(q.groups, g.key)
		return
	}
	heap.Fix(&q.order, g.position)
}

func (q *queue) notify() {
	select {
	case q.wake <- struct{}{}:
	default:
	}
}

func backoffAfter(attempts int) time.Duration {
	wait := firstBackoff
	for i := 1; i < attempts && wait < maxBackoff; i++ {
		wait *= 2
	}
	return min(wait, maxBackoff)
}
