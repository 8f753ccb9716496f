// Package notify wakes those who wait for something to change. A Signal is safe for concurrent use, and its zero value is ready.
package notify

import "sync"

// Signal wakes everyone who waits for something to change. Take the channel first, then look at the
// state, then wait: a change in between is not missed.
type Signal struct {
	mu sync.Mutex
	ch chan struct{}
}

// Next returns a channel that the next call of Notify closes.
func (s *Signal) Next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

// Notify wakes everyone who waits now.
func (s *Signal) Notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}
