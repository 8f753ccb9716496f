package raftstore

import (
	"context"
	"fmt"
	"sync/atomic"
)

// answered is how far this member's answers have shown the store to be. A follower answers a write once the leader has applied
// it, and may apply it itself a moment later.
//
// Invariant: what this member has answered it shows from then on. A read of its own state waits until that is applied, and a
// header or the start of a watch is at no revision before it.
type answered struct {
	index    atomic.Uint64
	revision atomic.Int64
}

// note is told of an answer before that is given: the entry that it is of, and the revision that it tells.
func (a *answered) note(index uint64, revision int64) {
	for have := a.index.Load(); have < index && !a.index.CompareAndSwap(have, index); {
		have = a.index.Load()
	}
	for have := a.revision.Load(); have < revision && !a.revision.CompareAndSwap(have, revision); {
		have = a.revision.Load()
	}
}

// Revision is the revision of this member's state, or the latest that it has answered if that is not applied here yet.
func (m *Member) Revision() int64 {
	return max(m.machine.Store().Revision(), m.answered.revision.Load())
}

// show returns once this member's own state has everything that it has answered. It takes as long as a write waits for a
// leader, at most: a member that is cut off from the others right after it has answered fails with ErrBehind.
func (m *Member) show(ctx context.Context) error {
	index := m.answered.index.Load()
	if m.machine.Store().AppliedIndex() >= index {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, m.config.RequestTimeout, fmt.Errorf("%w (entry %d)", ErrBehind, index))
	defer cancel()
	return m.machine.WaitApplied(ctx, index)
}
