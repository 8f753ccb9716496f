package propose

import (
	"errors"
	"testing"

	"github.com/ctlplane/ctlplane/raftstore/failure"
)

func TestQueueIsBounded(t *testing.T) {
	q := newQueue(100, 3)
	add := func(size int) error { return q.add(&Proposal{Encoded: make([]byte, size)}) }
	if err := errors.Join(add(40), add(40)); err != nil {
		t.Fatal(err)
	}
	if err := add(40); !errors.Is(err, failure.ErrTooManyRequests) {
		t.Errorf("bytes: %v", err)
	}
	if err := add(1); err != nil {
		t.Error(err)
	}
	if err := add(1); !errors.Is(err, failure.ErrTooManyRequests) {
		t.Errorf("length: %v", err)
	}
	if taken := q.take(50); len(taken) != 1 {
		t.Errorf("took %d of 40 bytes into 50", len(taken))
	}
	if taken := q.take(10); len(taken) != 1 {
		t.Errorf("took %d, want the one that is too large alone", len(taken))
	}
	if length, bytes := q.size(); length != 1 || bytes != 1 {
		t.Errorf("%d of %d bytes are left", length, bytes)
	}
	if err := add(200); !errors.Is(err, failure.ErrTooManyRequests) {
		t.Errorf("more than all room, behind another: %v", err)
	}
	q.take(1)
	if err := add(200); err != nil {
		t.Errorf("more than all room, alone: %v", err)
	}
}

func TestQueueKeepsItsOrder(t *testing.T) {
	q := newQueue(1000, 100)
	for i := range 6 {
		if err := q.add(&Proposal{Encoded: []byte{byte(i)}}); err != nil {
			t.Fatal(err)
		}
	}
	first, second := q.take(2), q.take(2)
	q.putBack(second)
	q.putBack(first)
	for i, p := range q.take(100) {
		if p.Encoded[0] != byte(i) {
			t.Errorf("at %d stands %d", i, p.Encoded[0])
		}
	}
	rest := q.close()
	if len(rest) != 0 || !errors.Is(q.add(&Proposal{}), failure.ErrClosed) {
		t.Error("closed, and takes more")
	}
}
