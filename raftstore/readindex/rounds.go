package readindex

import (
	"context"
	"sync"
	"time"

	"github.com/ctlplane/ctlplane/raftstore/failure"
)

// Rounds lets all readers that wait share one question for the index. A reader never gets the answer to
// a question that was asked before it came: that answer may be older than what the reader must see.
type Rounds struct {
	life context.Context
	ask  func(context.Context) (uint64, error)
	// observe is told how long each question took.
	observe func(time.Duration, error)

	mu      sync.Mutex
	gather  *round // not asked yet; nil while nobody waits
	waiting chan struct{}
}

type round struct {
	done  chan struct{}
	index uint64
	err   error
}

// NewRounds has ask answer, and observe told how long each question took.
func NewRounds(life context.Context, ask func(context.Context) (uint64, error), observe func(time.Duration, error)) *Rounds {
	return &Rounds{life: life, ask: ask, observe: observe, waiting: make(chan struct{}, 1)}
}

// Run answers rounds until life ends.
func (r *Rounds) Run() {
	for {
		select {
		case <-r.waiting:
		case <-r.life.Done():
			return
		}
		taken := r.take()
		begun := time.Now()
		taken.index, taken.err = r.ask(r.life)
		r.observe(time.Since(begun), taken.err)
		close(taken.done)
	}
}

func (r *Rounds) take() *round {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.gather
	r.gather = nil
	return taken
}

// Join waits for the answer of the next round.
func (r *Rounds) Join(ctx context.Context) (uint64, error) {
	r.mu.Lock()
	joined := r.gather
	if joined == nil {
		joined = &round{done: make(chan struct{})}
		r.gather = joined
		r.waiting <- struct{}{} // has room: the last token was taken before its round was
	}
	r.mu.Unlock()
	select {
	case <-joined.done:
		return joined.index, joined.err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	case <-r.life.Done():
		return 0, failure.ErrClosed
	}
}
