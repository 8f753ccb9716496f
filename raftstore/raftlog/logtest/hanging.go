// Package logtest has logs for tests that do what a disk may do.
package logtest

import (
	"sync"

	"github.com/hashicorp/raft"
)

// Hanging is a log on a disk that can be made to hang, and to refuse. It is safe for concurrent use.
type Hanging struct {
	raft.LogStore
	mu      sync.Mutex
	changed sync.Cond
	hangs   bool
	refusal error
	waiting int
}

// NewHanging stores in another log, until Set says otherwise.
func NewHanging(store raft.LogStore) *Hanging {
	h := &Hanging{LogStore: store}
	h.changed.L = &h.mu
	return h
}

// StoreLogs implements raft.LogStore.
func (h *Hanging) StoreLogs(logs []*raft.Log) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.waiting++
	for h.hangs {
		h.changed.Wait()
	}
	h.waiting--
	if h.refusal != nil {
		return h.refusal
	}
	return h.LogStore.StoreLogs(logs)
}

// IsMonotonic implements raft.MonotonicLogStore: whether the other log refuses gaps.
func (h *Hanging) IsMonotonic() bool {
	store, ok := h.LogStore.(raft.MonotonicLogStore)
	return ok && store.IsMonotonic()
}

// Set has the disk hang from now on, or work, and refuse what it takes if refusal is not nil.
func (h *Hanging) Set(hangs bool, refusal error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.hangs, h.refusal = hangs, refusal
	h.changed.Broadcast()
}

// Asked tells whether something waits for the disk.
func (h *Hanging) Asked() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.waiting > 0
}
