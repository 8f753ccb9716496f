package kv

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"k8s.io/utils/clock"
	clocktesting "k8s.io/utils/clock/testing"
	"pgregory.net/rapid"
)

// leaders is a store that one lessor after another counts the leases of, as if leaders followed each other,
// beside what clients were promised.
//
// What must hold, whatever happens:
//  1. A lease never ends before the time that its client was promised last.
//  2. It ends once its leader has counted all of its time; a leader adds to it no more than what passed since
//     it was recorded, what elections take, and what spreading a crowd takes.
//  3. A lease that has ended is never renewed.
type leaders struct {
	t       *rapid.T
	store   *Store
	clock   *clocktesting.FakeClock
	lessor  *Lessor
	promise map[int64]time.Time // until when each lease lives at least
	limit   map[int64]time.Time // and at most
	queued  []Command           // checkpoints that are not in the log yet
	index   uint64
}

const modelElection = 3 * time.Second

func (m *leaders) apply(c Command) Result {
	m.t.Helper()
	m.index++
	r, err := m.store.Apply([]Entry{{Index: m.index, Term: 1, Commands: []Command{c}}})
	if err != nil {
		m.t.Fatal(err)
	}
	return r[0][0]
}

// commit puts what the lessor has recorded into the log.
func (m *leaders) commit() {
	m.lessor.mu.Lock()
	queued := m.queued
	m.queued = nil
	m.lessor.mu.Unlock()
	for _, c := range queued {
		if r := m.apply(c); r.Err != nil {
			m.t.Fatal(r.Err)
		}
	}
}

func (m *leaders) lead() {
	m.lessor = NewLessor(m.store, m.clock, func(c []Checkpoint) { m.queued = append(m.queued, CheckpointCommand(c...)) })
	m.lessor.Promote(modelElection)
}

func (m *leaders) grant(id, ttl int64) {
	if r := m.apply(grant(id, ttl)); r.Err == nil {
		m.renewed(id)
	}
}

func (m *leaders) renewed(id int64) {
	ttl, _ := m.store.LeaseTTL(id)
	m.promise[id] = m.clock.Now().Add(time.Duration(ttl) * time.Second)
	m.limit[id] = m.promise[id]
}

func (m *leaders) renew(id int64) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := m.lessor.Renew(ctx, id, func(c Checkpoint) error {
		m.commit() // what was proposed before comes first
		return m.apply(CheckpointCommand(c)).Err
	})
	_, known := m.promise[id]
	switch {
	case err == nil && !known:
		m.t.Fatalf("lease %d was renewed after its end", id)
	case err == nil:
		if left := m.store.LeaseRemaining(id); left != 0 {
			m.t.Fatalf("lease %d was renewed, and the log says that %d s are left", id, left)
		}
		m.renewed(id)
	case errors.Is(err, ErrLeaseNotFound) && known, !errors.Is(err, ErrLeaseNotFound) && !errors.Is(err, context.Canceled):
		m.t.Fatalf("lease %d: %v", id, err)
	}
}

// pass lets time go by, in steps, and revokes what expires.
func (m *leaders) pass(d time.Duration) {
	m.clock.Step(d)
	var offer expiredLeases
	for {
		m.lessor.take(&offer)
		m.commit()
		if len(offer.ids) == 0 {
			break
		}
		for _, id := range offer.ids {
			if now := m.clock.Now(); now.Before(m.promise[id]) {
				m.t.Fatalf("lease %d ends %v early", id, m.promise[id].Sub(now))
			}
			m.apply(revoke(id))
			delete(m.promise, id)
			delete(m.limit, id)
		}
		offer.ids = nil
	}
	for id, limit := range m.limit {
		if late := m.clock.Now().Sub(limit); late > 0 {
			m.t.Fatalf("lease %d lives for %v too long", id, late)
		}
	}
}

// change lets another leader follow, with or without a hand-over; without, what is not in the log is lost.
func (m *leaders) change(handOver bool) {
	if handOver {
		m.lessor.HandOver()
		m.commit()
	}
	m.lessor.mu.Lock()
	m.queued = nil
	m.lessor.mu.Unlock()
	m.lessor.Close()
	now := m.clock.Now()
	for id := range m.limit {
		ttl, _ := m.store.LeaseTTL(id)
		left := ttl
		if recorded := m.store.LeaseRemaining(id); recorded > 0 {
			left = recorded
		}
		before := m.limit[id]
		m.limit[id] = now.Add(time.Duration(left)*time.Second + modelElection)
		gained := m.limit[id].Sub(before) - modelElection
		bound := min(time.Duration(ttl)*time.Second/2, handOverInterval) + time.Second
		if handOver && ttl >= minCheckpointTTL && before.After(now) && gained > bound {
			m.t.Fatalf("lease %d of %d s gained %v by a hand-over", id, ttl, gained)
		}
	}
	m.lead()
}

func TestLessorModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, err := Open(Options{Dir: "db", FS: vfs.NewMem()})
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		m := &leaders{
			t: t, store: s, clock: clocktesting.NewFakeClock(time.Unix(1000, 0)),
			promise: map[int64]time.Time{}, limit: map[int64]time.Time{},
		}
		m.lead()
		stopRunning(m.lessor)
		defer func() { m.lessor.Close() }()
		ids := rapid.Int64Range(1, 6)
		t.Repeat(map[string]func(*rapid.T){
			"grant": func(t *rapid.T) {
				m.grant(ids.Draw(t, "id"), rapid.SampledFrom([]int64{2, 10, 20, 60, 600, 7200, MaxLeaseTTL}).Draw(t, "ttl"))
			},
			"renew":  func(t *rapid.T) { m.renew(ids.Draw(t, "id")) },
			"commit": func(*rapid.T) { m.commit() },
			"pass": func(t *rapid.T) {
				m.pass(time.Duration(rapid.SampledFrom([]int{1, 5, 30, 120, 1000}).Draw(t, "seconds")) * time.Second)
			},
			"change": func(t *rapid.T) {
				m.change(rapid.Bool().Draw(t, "hand over"))
				stopRunning(m.lessor)
			},
		})
	})
}

// stopRunning ends the lessor's goroutine, in whose place the test takes what is due.
func stopRunning(l *Lessor) {
	close(l.done)
	l.running.Wait()
	l.done = make(chan struct{})
}

// TestPromotionSpreadsExpiries: a crowd that would expire at the same time under a new leader does not.
func TestPromotionSpreadsExpiries(t *testing.T) {
	s, l, clock := newTestLessor(t)
	stopRunning(l)
	const crowd = 5 * PromotedExpiries
	var commands []Command
	for id := range int64(crowd) {
		commands = append(commands, grant(id+1, 10))
	}
	apply(t, s, commands...)
	l.Promote(0)
	perSecond := map[int]int{}
	var all []int64
	for tenth := range 200 {
		clock.Step(100 * time.Millisecond)
		var offer expiredLeases
		for l.take(&offer); len(offer.ids) > 0; l.take(&offer) {
			perSecond[tenth/10] += len(offer.ids)
			all = append(all, offer.ids...)
			offer.ids = nil
		}
	}
	slices.Sort(all)
	if len(slices.Compact(all)) != crowd {
		t.Errorf("%d of %d expired", len(all), crowd)
	}
	for _, second := range slices.Sorted(maps.Keys(perSecond)) {
		if perSecond[second] > 2*PromotedExpiries {
			t.Errorf("%d expired in second %d", perSecond[second], second)
		}
	}
	if len(perSecond) < 5 {
		t.Errorf("they expired within %d seconds", len(perSecond))
	}
}

// TestCheckpointsArePaced: however many leases are due to be recorded, the log takes so many a second.
func TestCheckpointsArePaced(t *testing.T) {
	s := open(t, Options{})
	fake := clocktesting.NewFakeClock(time.Unix(1000, 0))
	recorded := map[int64]int{}
	batches := 0
	l := NewLessor(s, clock.Clock(fake), func(c []Checkpoint) {
		if batches++; len(c) > CheckpointBatch {
			t.Errorf("%d at once", len(c))
		}
		for _, c := range c {
			recorded[c.ID]++
		}
	})
	t.Cleanup(l.Close)
	stopRunning(l)
	l.Promote(0)
	const crowd = 10_000
	var commands []Command
	for id := range int64(crowd) {
		commands = append(commands, grant(id+1, 1000))
	}
	apply(t, s, commands...)
	fake.Step(299 * time.Second)
	var offer expiredLeases
	l.take(&offer)
	if len(recorded) != 0 {
		t.Errorf("%d recorded early", len(recorded))
	}
	for second := range 12 {
		fake.Step(time.Second)
		l.take(&offer)
		if most := (second + 2) * checkpointsPerSecond; len(recorded) > most+1 {
			t.Errorf("%d recorded within %d s", len(recorded), second+1)
		}
	}
	if len(recorded) != crowd || batches > 30 {
		t.Errorf("%d of %d were recorded, in %d batches", len(recorded), crowd, batches)
	}
}

// BenchmarkMillionLeases is what a leader spends on a million leases: to take them over, and to renew one.
func BenchmarkMillionLeases(b *testing.B) {
	s := open(b, Options{})
	l := NewLessor(s, clock.RealClock{}, func([]Checkpoint) {})
	defer l.Close()
	for i := range int64(1_000_000) {
		s.leases.granted[i+1] = leaseTerm{ttl: 3600 + i%1000}
	}
	b.Run("promote", func(b *testing.B) {
		for b.Loop() {
			l.Promote(0)
		}
	})
	b.Run("renew", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			if _, err := l.Renew(b.Context(), int64(i%1_000_000)+1, nil); err != nil {
				b.Fatal(fmt.Errorf("lease %d: %w", i, err))
			}
		}
	})
}
