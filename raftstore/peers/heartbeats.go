package peers

import (
	"bytes"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/raft"

	"github.com/ctlplane/ctlplane/raftstore/raftlog"
)

// Heartbeats is between the connections, whose goroutines handle heartbeats so that no disk holds them up, and Raft.
//
// Invariants:
//  1. Beside Raft's own goroutine a heartbeat is handled only in the term that is stored, and no later one is stored while one
//     is. The handler makes the heartbeat's term Raft's without looking again: when Raft's goroutine has voted in a later
//     term meanwhile, this member would go on to acknowledge entries of the term before its vote.
//  2. After close none is handled, and none is under way. Raft's end does not wait for those goroutines, and one that notes a
//     new term in a store which has been closed ends the process.
type Heartbeats struct {
	others chan raft.RPC // to Raft's own goroutine
	done   chan struct{} // closed by close

	term atomic.Uint64 // as it is stored

	mu     sync.RWMutex // held for reading while a heartbeat is handled, for writing while the term is stored
	closed bool
}

// NewHeartbeats begins with the term of a store that Raft is going to use.
func NewHeartbeats(stable raft.StableStore) (*Heartbeats, error) {
	term, err := raftlog.CurrentTerm(stable)
	if err != nil {
		return nil, err
	}
	h := &Heartbeats{others: make(chan raft.RPC), done: make(chan struct{})}
	h.term.Store(term)
	return h, nil
}

// guard makes a handler that keeps the invariants.
func (h *Heartbeats) guard(handle func(raft.RPC)) func(raft.RPC) {
	return func(rpc raft.RPC) {
		if h.handleIn(rpc, handle) {
			return
		}
		select {
		case h.others <- rpc:
		case <-h.done:
			rpc.Respond(nil, raft.ErrTransportShutdown)
		}
	}
}

// handleIn handles a heartbeat of the stored term. It returns false for another one.
func (h *Heartbeats) handleIn(rpc raft.RPC, handle func(raft.RPC)) bool {
	h.mu.RLock()
	defer h.mu.RUnlock()
	request, ok := rpc.Command.(*raft.AppendEntriesRequest)
	if h.closed || !ok || request.Term != h.term.Load() {
		return false
	}
	handle(rpc)
	return true
}

// Close has no heartbeat handled any more, and waits for those that are.
func (h *Heartbeats) Close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.closed {
		h.closed = true
		close(h.done)
	}
}

// GuardTerms makes a store of Raft's term which no heartbeat sees half changed.
func (h *Heartbeats) GuardTerms(stable raft.StableStore) raft.StableStore { return terms{stable, h} }

type terms struct {
	raft.StableStore
	heartbeats *Heartbeats
}

// SetUint64 implements raft.StableStore. Storing the term that is stored does nothing: a heartbeat's handler does that.
func (t terms) SetUint64(key []byte, value uint64) error {
	if !bytes.Equal(key, raftlog.KeyCurrentTerm) {
		return t.StableStore.SetUint64(key, value)
	}
	h := t.heartbeats
	if h.term.Load() == value {
		return nil
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := t.StableStore.SetUint64(key, value); err != nil {
		return err
	}
	h.term.Store(value)
	return nil
}
