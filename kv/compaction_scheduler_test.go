package kv

import (
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

// backlog is a database of which only the compactions are left. It locks as Pebble does: its own mutex before the scheduler's.
type backlog struct {
	scheduler *compactionScheduler

	mu      sync.Mutex
	left    int // that are to run and were not picked
	waiting bool
	running int
	most    int
	allowed int // guarded by limit
	limit   sync.Mutex
	all     sync.WaitGroup
}

func (b *backlog) GetAllowedWithoutPermission() int {
	b.limit.Lock()
	defer b.limit.Unlock()
	return b.allowed
}

func (b *backlog) GetWaitingCompaction() (bool, pebble.WaitingCompaction) {
	defer runtime.Gosched() // what is answered is soon out of date
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting = b.waiting && b.left > 0
	return b.waiting, pebble.WaitingCompaction{}
}

func (b *backlog) Schedule(handle pebble.CompactionGrantHandle) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.waiting || b.left == 0 {
		b.waiting = false
		return false
	}
	b.run(handle)
	return true
}

// run is called with mu held.
func (b *backlog) run(handle pebble.CompactionGrantHandle) {
	b.left--
	b.running++
	b.most = max(b.most, b.running)
	go func() {
		b.mu.Lock()
		b.running--
		b.mu.Unlock()
		handle.Done()
		b.mu.Lock()
		b.schedule()
		b.mu.Unlock()
		b.all.Done()
	}()
}

// add makes compactions necessary, and may allow more of them at a time. A flush tells the scheduler so; of tables that are taken in,
// or of what is learned about others, it hears nothing.
func (b *backlog) add(n, allowed int) {
	b.all.Add(n)
	b.limit.Lock()
	b.allowed = allowed
	b.limit.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	b.left += n
	if rand.IntN(8) == 0 {
		b.scheduler.UpdateGetAllowedWithoutPermission()
	}
	b.schedule()
}

// schedule is called with mu held.
func (b *backlog) schedule() {
	for !b.waiting && b.left > 0 {
		granted, handle := b.scheduler.TrySchedule()
		if !granted {
			b.waiting = true
			return
		}
		b.run(handle)
	}
}

// TestCompactionsAreScheduled: all that are added run, however that falls together with others that end, and never too many.
func TestCompactionsAreScheduled(t *testing.T) {
	for range 1000 {
		b := &backlog{scheduler: newCompactionScheduler()}
		b.scheduler.Register(1, b)
		most := 0
		for range 1 + rand.IntN(20) {
			allowed := 1 + rand.IntN(3)
			most = max(most, allowed)
			b.add(rand.IntN(5), allowed)
			for range rand.IntN(4) {
				runtime.Gosched()
			}
		}
		b.all.Wait()
		b.scheduler.Unregister()
		if b.most > most {
			t.Fatalf("%d at a time, where %d are allowed", b.most, most)
		}
		if granted, _ := b.scheduler.TrySchedule(); granted {
			t.Fatal("one is granted to a database that is closed")
		}
	}
}
