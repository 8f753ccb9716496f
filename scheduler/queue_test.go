package scheduler

import (
	"context"
	"slices"
	"testing"
	"time"

	"k8s.io/utils/clock"
	testclock "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
)

func newTestQueue() (*queue, *testclock.FakeClock) {
	c := testclock.NewFakeClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	return newQueue(c), c
}

func podInfo(name, cpu string, priority int32) *PodInfo {
	pod := testPod(name, "cpu", cpu)
	pod.Spec.Priority = ptr.To(priority)
	return NewPodInfo(pod)
}

func taken(q *queue, limit int) ([]*entry, []string) {
	entries, _ := q.take(limit)
	var names []string
	for _, e := range entries {
		names = append(names, e.info.Pod.Name)
	}
	return entries, names
}

func expectTaken(t *testing.T, q *queue, limit int, want ...string) []*entry {
	t.Helper()
	entries, names := taken(q, limit)
	if !slices.Equal(names, want) {
		t.Fatalf("took %q, expected %q", names, want)
	}
	return entries
}

func TestQueueOrder(t *testing.T) {
	q, _ := newTestQueue()
	for _, p := range []*PodInfo{
		podInfo("small-1", "1", 0), podInfo("large-1", "2", 0), podInfo("small-2", "1", 0),
		podInfo("urgent", "1", 5), podInfo("small-3", "1", 0),
	} {
		q.set(p)
	}
	q.remove("small-2")
	q.set(podInfo("small-4", "1", 0))
	expectTaken(t, q, 10, "urgent")
	expectTaken(t, q, 2, "small-1", "small-3")
	expectTaken(t, q, 2, "large-1") // it came before small-4
	expectTaken(t, q, 2, "small-4")
	expectTaken(t, q, 2)
}

func TestQueueBackoffGrows(t *testing.T) {
	q, clock := newTestQueue()
	q.set(podInfo("a", "1", 0))
	for _, want := range []time.Duration{1, 2, 4, 8, 10, 10} {
		e := expectTaken(t, q, 1, "a")[0]
		if !q.failed(e, false) {
			t.Fatal("the pod is gone")
		}
		clock.Step(want*time.Second - 1)
		expectTaken(t, q, 1)
		clock.Step(1)
	}
}

func TestUnschedulableWaitsForANodeThatCanTakeIt(t *testing.T) {
	q, clock := newTestQueue()
	q.set(podInfo("small", "1", 0))
	q.set(podInfo("large", "2", 0))
	q.failed(expectTaken(t, q, 1, "small")[0], true)
	q.failed(expectTaken(t, q, 1, "large")[0], true)
	clock.Step(time.Minute)
	expectTaken(t, q, 1)

	onlySmall := func(p *PodInfo) bool { return p.Requests.MilliCPU <= 1000 }
	q.nodeChanged(onlySmall)
	e := expectTaken(t, q, 1, "small")[0]
	q.nodeChanged(onlySmall) // while it is in flight, which misses this
	q.failed(e, true)
	clock.Step(2 * time.Second)
	e = expectTaken(t, q, 1, "small")[0]
	q.nodeChanged(func(*PodInfo) bool { return false })
	q.failed(e, true)
	clock.Step(time.Minute)
	expectTaken(t, q, 1)
	q.nodeChanged(onlySmall)
	e = expectTaken(t, q, 1, "small")[0]

	if counts := q.counts(); counts[unschedulable] != 1 || counts[inFlight] != 1 {
		t.Errorf("counts are %v", counts)
	}
	clock.Step(maxUnschedulable)
	expectTaken(t, q, 1, "large")
	q.done(e)
	q.remove("large")
	if len(q.concerned)+len(q.waiting)+len(q.entries)+len(q.groups)+len(q.order) != 0 {
		t.Errorf("something is left of the pods: %+v", q)
	}
}

func TestQueueFollowsThePod(t *testing.T) {
	q, clock := newTestQueue()
	q.set(podInfo("a", "1", 0))
	newer := podInfo("a", "1", 0)
	newer.Pod.ResourceVersion = "2"
	q.set(newer)
	e := expectTaken(t, q, 1, "a")[0]
	if e.info != newer {
		t.Error("an active pod was not replaced")
	}
	newest := podInfo("a", "1", 0)
	q.update(newest)
	if e.info != newer {
		t.Error("a pod in flight changed under the loop")
	}
	q.failed(e, false)
	if e.info != newest {
		t.Error("a pod that failed was not replaced by what was seen of it")
	}
	q.set(podInfo("a", "2", 0))
	clock.Step(time.Minute)
	if e := expectTaken(t, q, 1, "a")[0]; e.info.Requests.MilliCPU != 2000 {
		t.Error("a waiting pod was not replaced")
	} else {
		q.remove("a")
		if q.failed(e, true) {
			t.Error("a pod that has gone came back")
		}
	}
	q.update(podInfo("b", "1", 0))
	expectTaken(t, q, 1)
}

// timerClock tells when somebody waits for it.
type timerClock struct {
	*testclock.FakeClock
	waits chan time.Duration
}

func (c timerClock) NewTimer(d time.Duration) clock.Timer {
	timer := c.FakeClock.NewTimer(d)
	c.waits <- d
	return timer
}

func TestPopWaits(t *testing.T) {
	q, fake := newTestQueue()
	waits := make(chan time.Duration, 1)
	q.clock = timerClock{fake, waits}
	got := make(chan []*entry)
	go func() { got <- q.pop(t.Context(), 1) }()
	q.set(podInfo("a", "1", 0))
	e := (<-got)[0]

	q.failed(e, false)
	<-q.wake // so that only the clock wakes pop
	go func() { got <- q.pop(t.Context(), 1) }()
	fake.Step(<-waits)
	<-got

	ctx, cancel := context.WithCancel(t.Context())
	go func() { got <- q.pop(ctx, 1) }()
	cancel()
	if pods := <-got; pods != nil {
		t.Errorf("got %v after the end", pods)
	}
}
