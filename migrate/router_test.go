package migrate

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// place is somewhere that calls go to.
type place struct{ grpc.ClientConnInterface }

func mustEnter(t *testing.T, g *gate, endless bool) *call {
	t.Helper()
	c, err := g.enter(t.Context(), endless)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestGateHolds: no call begins or goes on while calls are held; then all go to the new place.
func TestGateHolds(t *testing.T) {
	old, now := &place{}, &place{}
	g := newGate(old)
	unary, stream := mustEnter(t, g, false), mustEnter(t, g, true)
	g.hold()
	if !errors.Is(context.Cause(stream.ctx), errHeld) || unary.ctx.Err() != nil {
		t.Errorf("the stream ended by %v, the call by %v", context.Cause(stream.ctx), unary.ctx.Err())
	}
	stream.leave()
	impatient, cancel := context.WithCancelCause(t.Context())
	cancel(errUnsettled)
	if err := g.drained(impatient); !errors.Is(err, errUnsettled) {
		t.Errorf("with a call on its way: %v", err)
	}
	gone, cancelGone := context.WithCancel(t.Context())
	cancelGone()
	if _, err := g.enter(gone, false); status.Code(err) != codes.Canceled {
		t.Errorf("a held call whose client has gone: %v", err)
	}
	unary.leave()
	if err := g.drained(t.Context()); err != nil {
		t.Error(err)
	}
	entered := make(chan *call, 1)
	go func() {
		c, err := g.enter(t.Context(), false)
		if err != nil {
			t.Error(err)
		}
		entered <- c
	}()
	g.release(now)
	if c := <-entered; c.to != now || !c.moved {
		t.Errorf("the held call goes to %v, want %v", c.to, now)
	}
	if _, err := g.enter(t.Context(), true); status.Code(err) != codes.Unavailable {
		t.Errorf("a stream after the move: %v", err)
	}
}

// TestGateGivenUp: calls go on where they went.
func TestGateGivenUp(t *testing.T) {
	old := &place{}
	g := newGate(old)
	g.hold()
	g.release(nil)
	for _, endless := range []bool{false, true} {
		if c := mustEnter(t, g, endless); c.to != old || c.moved {
			t.Errorf("a call goes to %v", c.to)
		}
	}
}
