package migrate

import (
	"context"
	"errors"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

var (
	// errConnectAgain ends calls that would go on for ever: clients make them again.
	errConnectAgain = status.Error(codes.Unavailable, "etcdserver: the cluster is being moved: call again")
	errHeld         = errors.New("calls are held")
)

// gate says where clients' calls go, and holds them.
//
// Invariants:
//  1. Between drained and release no call is on its way, and none begins.
//  2. A call goes to one place as a whole.
//  3. Calls without an end of their own don't keep drained waiting: hold ends them. Once moved, they are ended at once, so that
//     they are made again on a connection to the member itself.
type gate struct {
	mu      sync.Mutex
	to      grpc.ClientConnInterface
	moved   bool
	held    chan struct{} // not nil while calls are held, closed at release
	calls   int
	idle    chan struct{} // closed when calls becomes 0, for who waits
	endless map[*call]struct{}
}

func newGate(to grpc.ClientConnInterface) *gate {
	return &gate{to: to, endless: map[*call]struct{}{}}
}

// call is a call on its way.
type call struct {
	gate   *gate
	ctx    context.Context
	cancel context.CancelCauseFunc
	to     grpc.ClientConnInterface
	moved  bool // it goes to the member
}

// enter begins a call, once no calls are held. leave ends it.
func (g *gate) enter(ctx context.Context, endless bool) (*call, error) {
	for {
		c, held := g.tryEnter(ctx, endless)
		if c != nil {
			return c, nil
		}
		if held == nil {
			return nil, errConnectAgain
		}
		select {
		case <-held:
		case <-ctx.Done():
			return nil, status.FromContextError(ctx.Err()).Err()
		}
	}
}

func (g *gate) tryEnter(ctx context.Context, endless bool) (*call, chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.held != nil {
		return nil, g.held
	}
	if g.moved && endless {
		return nil, nil
	}
	c := &call{gate: g, to: g.to, moved: g.moved}
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	g.calls++
	if endless {
		g.endless[c] = struct{}{}
	}
	return c, nil
}

func (c *call) leave() {
	c.cancel(nil)
	g := c.gate
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.endless, c)
	if g.calls--; g.calls == 0 && g.idle != nil {
		close(g.idle)
		g.idle = nil
	}
}

// hold keeps calls from beginning, and ends those that have no end.
func (g *gate) hold() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held = make(chan struct{})
	for c := range g.endless {
		c.cancel(errHeld)
	}
}

// drained waits until no call is on its way any more.
func (g *gate) drained(ctx context.Context) error {
	g.mu.Lock()
	if g.calls == 0 {
		g.mu.Unlock()
		return nil
	}
	if g.idle == nil {
		g.idle = make(chan struct{})
	}
	idle := g.idle
	g.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// release lets held calls go on: to where they went before, or where to is not nil, there.
func (g *gate) release(to grpc.ClientConnInterface) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if to != nil {
		g.to, g.moved = to, true
	}
	close(g.held)
	g.held = nil
}
