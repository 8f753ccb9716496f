package peers

import (
	"errors"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// silentAfter is how many requests have to fail in a row. Of a follower that was started again the connections that were
	// kept are broken, and the next one works.
	silentAfter = 3
	// silenceLook is between two looks whether what waits is still to be sent.
	silenceLook = 100 * time.Millisecond
)

var errSilent = errors.New("the follower does not answer")

// silence keeps what Raft sends to a follower that does not answer until it does.
//
// Raft waits after each request that has failed, twice as long each time and up to ten seconds, and goes on waiting when the
// follower is back. It tries heartbeats far more often. So requests to a follower that is silent wait here until a heartbeat is
// answered, and Raft counts few failures. Heartbeats never wait.
type silence struct {
	// sends tells whether requests of a term are still sent to a follower: this member leads in it, and has the follower.
	sends func(to raft.ServerID, term uint64) bool

	mu        sync.Mutex
	followers map[raft.ServerID]*silentFollower
}

type silentFollower struct {
	failures int
	answered chan struct{} // closed once it answers
}

func newSilence(sends func(raft.ServerID, uint64) bool) *silence {
	return &silence{sends: sends, followers: map[raft.ServerID]*silentFollower{}}
}

// outcome notes how a request to a follower has ended, and tells whether the follower is silent.
func (s *silence) outcome(to raft.ServerID, err error) (silent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.followers[to]
	switch {
	case err == nil && f != nil:
		close(f.answered)
		delete(s.followers, to)
	case err != nil && f == nil:
		s.followers[to] = &silentFollower{failures: 1, answered: make(chan struct{})}
	case err != nil:
		f.failures++
		return f.failures >= silentAfter
	}
	return false
}

// wait returns nil once a request to a follower is worth sending, and errSilent when it is not to be sent any more.
func (s *silence) wait(to raft.ServerID, term uint64) error {
	answered := s.silent(to)
	if answered == nil {
		return nil
	}
	look := time.NewTicker(silenceLook)
	defer look.Stop()
	for s.sends(to, term) {
		select {
		case <-answered:
			return nil
		case <-look.C:
		}
	}
	return errSilent
}

// silent returns what is closed once a silent follower answers; nil for one that isn't silent.
func (s *silence) silent(to raft.ServerID) <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.followers[to]; f != nil && f.failures >= silentAfter {
		return f.answered
	}
	return nil
}
