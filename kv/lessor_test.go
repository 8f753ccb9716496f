package kv

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

func newTestLessor(t *testing.T) (*Store, *Lessor, *clocktesting.FakeClock) {
	s := open(t, Options{})
	clock := clocktesting.NewFakeClock(time.Unix(1000, 0))
	l := NewLessor(s, clock, func([]Checkpoint) {})
	t.Cleanup(l.Close)
	return s, l, clock
}

// renew renews a lease that needs no checkpoint taken back, without waiting.
func renew(l *Lessor, id int64) (int64, error) {
	return l.Renew(cancelled(), id, nil)
}

func expired(t *testing.T, l *Lessor) []int64 {
	t.Helper()
	select {
	case ids := <-l.Expired():
		slices.Sort(ids)
		return ids
	case <-testContext(t).Done():
		t.Fatal("nothing expired")
		return nil
	}
}

func expectLiving(t *testing.T, l *Lessor) {
	t.Helper()
	l.mu.Lock()
	l.rouse()
	l.mu.Unlock()
	waitFor(t, func() bool { l.mu.Lock(); defer l.mu.Unlock(); return len(l.wake) == 0 })
	select {
	case ids := <-l.Expired():
		t.Fatalf("%v expired", ids)
	case <-time.After(5 * time.Millisecond):
	}
}

func TestLessorExpires(t *testing.T) {
	s, l, clock := newTestLessor(t)
	apply(t, s, grant(1, 10), grant(2, 20))
	clock.Step(time.Hour)
	expectLiving(t, l) // it isn't promoted
	if _, err := renew(l, 1); !errors.Is(err, ErrNotPromoted) {
		t.Error(err)
	}
	l.Promote(5 * time.Second)
	apply(t, s, grant(3, 12), grant(4, 12), revoke(4))
	if left, ok := l.Remaining(1); !ok || left != 15*time.Second {
		t.Errorf("lease 1 has %v left", left)
	}
	clock.Step(11 * time.Second)
	if ttl, err := renew(l, 1); err != nil || ttl != 10 {
		t.Error(ttl, err)
	}
	clock.Step(time.Second)
	if ids := expired(t, l); !slices.Equal(ids, []int64{3}) {
		t.Errorf("%v expired, want 3", ids)
	}
	clock.Step(8 * time.Second)
	expectLiving(t, l)
	clock.Step(time.Second)
	if ids := expired(t, l); !slices.Equal(ids, []int64{1}) {
		t.Errorf("%v expired, want 1", ids)
	}
	// What has expired can't be renewed, and comes again when its revocation failed.
	if _, err := renew(l, 1); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	apply(t, s, revoke(3))
	l.Retry([]int64{1, 3}, time.Second)
	if _, err := renew(l, 1); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	clock.Step(time.Second)
	if ids := expired(t, l); !slices.Equal(ids, []int64{1}) {
		t.Errorf("%v expired, want 1 again", ids)
	}
	if left, ok := l.Remaining(1); !ok || left > 0 {
		t.Errorf("an expired lease has %v left", left)
	}
	if _, ok := l.Remaining(3); ok {
		t.Error("a revoked lease is still counted")
	}
}

// TestLessorDemotes: an offer that nobody took is withdrawn, and a new promotion counts anew.
func TestLessorDemotes(t *testing.T) {
	s, l, clock := newTestLessor(t)
	apply(t, s, grant(1, 10))
	l.Promote(0)
	clock.Step(10 * time.Second)
	waitFor(t, func() bool { l.mu.Lock(); defer l.mu.Unlock(); return len(l.heap) == 0 })
	l.Demote()
	expectLiving(t, l)
	l.Promote(0)
	expectLiving(t, l)
	clock.Step(10 * time.Second)
	if ids := expired(t, l); !slices.Equal(ids, []int64{1}) {
		t.Errorf("%v expired, want 1", ids)
	}
}

func TestLessorBatches(t *testing.T) {
	s, l, clock := newTestLessor(t)
	l.Promote(0)
	var commands []Command
	for id := range int64(1000) {
		commands = append(commands, grant(id+1, 5+id%7))
	}
	apply(t, s, append(commands, grant(5000, MaxLeaseTTL))...)
	clock.Step(time.Minute)
	var all []int64
	for len(all) < 1000 {
		ids := expired(t, l)
		if len(ids) > ExpiryBatch {
			t.Fatalf("%d leases at once", len(ids))
		}
		all = append(all, ids...)
	}
	slices.Sort(all)
	if all = slices.Compact(all); len(all) != 1000 || all[999] != 1000 {
		t.Errorf("%d leases expired", len(all))
	}
	expectLiving(t, l)
}

// TestRenewalAfterAPromotionEndsInTime: a lease that was renewed right after an election lived for as long as the promotion had
// given it, which is more than its time.
func TestRenewalAfterAPromotionEndsInTime(t *testing.T) {
	s, l, clock := newTestLessor(t)
	stopRunning(l)
	apply(t, s, grant(1, 10))
	l.Promote(3 * time.Second)
	if _, err := l.Renew(t.Context(), 1, nil); err != nil {
		t.Fatal(err)
	}
	clock.Step(10 * time.Second)
	var offer expiredLeases
	if l.take(&offer); len(offer.ids) != 1 {
		t.Errorf("%v expired 10 s after its renewal", offer.ids)
	}
}
