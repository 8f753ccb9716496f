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

// router says where clients' calls go, and holds them.
//
// Invariants:
//  1. Between drained and release no call is on its way, and none begins.
//  2. A call goes to one server as a whole.
//  3. Calls without an end of their own don't keep drained waiting: hold ends them. Once moved, they are ended at once, so that
//     they are made again on a connection to the member itself.
type router struct {
	mu      sync.Mutex
	to      grpc.ClientConnInterface
	moved   bool
	held    chan struct{} // not nil while calls are held, closed at release
	calls   int
	idle    chan struct{} // closed when calls becomes 0, for who waits
	endless map[*call]struct{}
}

func newRouter(to grpc.ClientConnInterface) *router {
	return &router{to: to, endless: map[*call]struct{}{}}
}

// call is a call on its way.
type call struct {
	router *router
	ctx    context.Context
	cancel context.CancelCauseFunc
	to     grpc.ClientConnInterface
	moved  bool // it goes to the member
}

// enter begins a call, once no calls are held. leave ends it.
func (r *router) enter(ctx context.Context, endless bool) (*call, error) {
	for {
		c, held := r.tryEnter(ctx, endless)
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

func (r *router) tryEnter(ctx context.Context, endless bool) (*call, chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.held != nil {
		return nil, r.held
	}
	if r.moved && endless {
		return nil, nil
	}
	c := &call{router: r, to: r.to, moved: r.moved}
	c.ctx, c.cancel = context.WithCancelCause(ctx)
	r.calls++
	if endless {
		r.endless[c] = struct{}{}
	}
	return c, nil
}

func (c *call) leave() {
	c.cancel(nil)
	r := c.router
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.endless, c)
	if r.calls--; r.calls == 0 && r.idle != nil {
		close(r.idle)
		r.idle = nil
	}
}

// hold keeps calls from beginning, and ends those that have no end.
func (r *router) hold() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = make(chan struct{})
	for c := range r.endless {
		c.cancel(errHeld)
	}
}

// drained waits until no call is on its way any more.
func (r *router) drained(ctx context.Context) error {
	r.mu.Lock()
	if r.calls == 0 {
		r.mu.Unlock()
		return nil
	}
	if r.idle == nil {
		r.idle = make(chan struct{})
	}
	idle := r.idle
	r.mu.Unlock()
	select {
	case <-idle:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// release lets held calls go on: to where they went before, or where to is not nil, there.
func (r *router) release(to grpc.ClientConnInterface) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if to != nil {
		r.to, r.moved = to, true
	}
	close(r.held)
	r.held = nil
}
