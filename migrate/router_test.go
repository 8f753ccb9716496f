package migrate

import (
	"context"
	"errors"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// backend is where calls go.
type backend struct{ grpc.ClientConnInterface }

func mustEnter(t *testing.T, r *router, endless bool) *call {
	t.Helper()
	c, err := r.enter(t.Context(), endless)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestGateHolds: no call begins or goes on while calls are held; then all go to the new server.
func TestGateHolds(t *testing.T) {
	old, now := &backend{}, &backend{}
	r := newRouter(old)
	unary, stream := mustEnter(t, r, false), mustEnter(t, r, true)
	r.hold()
	if !errors.Is(context.Cause(stream.ctx), errHeld) || unary.ctx.Err() != nil {
		t.Errorf("the stream ended by %v, the call by %v", context.Cause(stream.ctx), unary.ctx.Err())
	}
	stream.leave()
	impatient, cancel := context.WithCancelCause(t.Context())
	cancel(errUnsettled)
	if err := r.drained(impatient); !errors.Is(err, errUnsettled) {
		t.Errorf("with a call on its way: %v", err)
	}
	gone, cancelGone := context.WithCancel(t.Context())
	cancelGone()
	if _, err := r.enter(gone, false); status.Code(err) != codes.Canceled {
		t.Errorf("a held call whose client has gone: %v", err)
	}
	unary.leave()
	if err := r.drained(t.Context()); err != nil {
		t.Error(err)
	}
	entered := make(chan *call, 1)
	go func() {
		c, err := r.enter(t.Context(), false)
		if err != nil {
			t.Error(err)
		}
		entered <- c
	}()
	r.release(now)
	if c := <-entered; c.to != now || !c.moved {
		t.Errorf("the held call goes to %v, want %v", c.to, now)
	}
	if _, err := r.enter(t.Context(), true); status.Code(err) != codes.Unavailable {
		t.Errorf("a stream after the move: %v", err)
	}
}

// TestGateGivenUp: calls go on where they went.
func TestGateGivenUp(t *testing.T) {
	old := &backend{}
	r := newRouter(old)
	r.hold()
	r.release(nil)
	for _, endless := range []bool{false, true} {
		if c := mustEnter(t, r, endless); c.to != old || c.moved {
			t.Errorf("a call goes to %v", c.to)
		}
	}
}
