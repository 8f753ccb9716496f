package raftstore

import (
	"sync"

	"github.com/hashicorp/raft"
)

// heartbeats is what stands between the connections, whose goroutines handle heartbeats, and Raft.
//
// Invariant: after close no heartbeat is handled, and none is under way. Raft's end does not wait for those goroutines, and
// one that notes a new term in a store which has been closed ends the process.
type heartbeats struct {
	mu     sync.RWMutex
	closed bool
}

// guard makes a handler that refuses after close.
func (h *heartbeats) guard(handle func(raft.RPC)) func(raft.RPC) {
	return func(rpc raft.RPC) {
		h.mu.RLock()
		defer h.mu.RUnlock()
		if h.closed {
			rpc.Respond(nil, raft.ErrTransportShutdown)
			return
		}
		handle(rpc)
	}
}

func (h *heartbeats) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
}

// SetHeartbeatHandler implements raft.Transport.
func (t *transport) SetHeartbeatHandler(handle func(raft.RPC)) {
	t.NetworkTransport.SetHeartbeatHandler(t.heartbeats.guard(handle))
}
