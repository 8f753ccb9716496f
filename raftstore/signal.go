package raftstore

import "sync"

// signal wakes everyone who waits for something to change. Take the channel first, then look at the
// state, then wait: a change in between is not missed.
type signal struct {
	mu sync.Mutex
	ch chan struct{}
}

// next is closed at the next notify.
func (s *signal) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch == nil {
		s.ch = make(chan struct{})
	}
	return s.ch
}

func (s *signal) notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ch != nil {
		close(s.ch)
		s.ch = nil
	}
}
