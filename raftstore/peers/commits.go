package peers

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// commitPause is how long a commit waits for an entry that tells a follower of it.
const commitPause = time.Millisecond

// Commits tells followers how far is committed where no entry does.
//
// Raft tells it with entries, and when none come, every CommitTimeout, whether there is something to tell or not: every few
// milliseconds for ever, if what was committed last shall be seen at once. So its timeout is long here, and this tells what
// Raft has not: an index that is committed, to a follower that has acknowledged the entry, in a request of its own. The
// request names that entry as the one before it, so that a follower whose log differs takes nothing from it.
type Commits struct {
	// news has a token when there may be something to tell.
	news    chan struct{}
	workers *Workers

	mu        sync.Mutex
	followers map[raft.ServerID]followerLog
}

// followerLog is what a leader knows of a follower's log, in a term.
type followerLog struct {
	term  uint64
	acked uint64 // the last entry that it is known to have
	told  uint64 // the last commit that was sent to it
	// fed is the last entry of the snapshot that it is sent or has taken over, until it is silent; 0: none.
	fed uint64
}

// NewCommits has tell called for a follower that there may be something to tell, while run runs.
func NewCommits(life context.Context, tell func(context.Context, raft.Server)) *Commits {
	return &Commits{news: make(chan struct{}, 1), workers: NewWorkers(life, tell), followers: map[raft.ServerID]followerLog{}}
}

// Run has followers told what is committed, while this member leads; others are the members that it may tell.
func (c *Commits) Run(ctx context.Context, others func() []raft.Server) {
	timer := time.NewTimer(commitPause)
	defer timer.Stop()
	for {
		select {
		case <-c.news:
		case <-ctx.Done():
			return
		}
		timer.Reset(commitPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		c.workers.Wake(others())
	}
}

// Wait waits for those that tell, after life has ended.
func (c *Commits) Wait() { c.workers.Wait() }

// Advanced says that there is something to tell.
func (c *Commits) Advanced() {
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// sent notes what a request tells.
func (c *Commits) sent(to raft.ServerID, request *raft.AppendEntriesRequest) {
	if request.LeaderCommitIndex == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.of(to, request.Term)
	f.told = max(f.told, min(request.LeaderCommitIndex, reach(request)))
	c.followers[to] = f
}

// acknowledged notes that a follower has accepted a request.
func (c *Commits) acknowledged(by raft.ServerID, request *raft.AppendEntriesRequest) {
	index := reach(request)
	if index == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.of(by, request.Term)
	if f.acked < index {
		f.acked = index
		c.followers[by] = f
		c.Advanced()
	}
}

// Acknowledged is the last entry that a follower is known to have, in the term that this member leads in; 0 if nothing is known.
func (c *Commits) Acknowledged(id raft.ServerID, term uint64) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.of(id, term).acked
}

// Fed is the entry after which a follower needs the log that is sent a snapshot, or has taken one over and catches up from there;
// 0 for any other. Without those entries it would need a snapshot again, and again if that takes as long.
func (c *Commits) Fed(id raft.ServerID, term uint64) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.of(id, term)
	if f.fed == 0 {
		return 0
	}
	return max(f.fed, f.acked)
}

// feeds notes that a follower is sent a snapshot up to an entry, or has taken it over; 0: that this has failed, or it is silent.
func (c *Commits) feeds(to raft.ServerID, term, index uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if f := c.of(to, term); f.fed != index {
		f.fed = index
		c.followers[to] = f
	}
}

// Untold is the commit that a follower should be told of; 0 if there is none.
func (c *Commits) Untold(id raft.ServerID, term, commit uint64) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.of(id, term)
	if now := min(commit, f.acked); now > f.told {
		return now
	}
	return 0
}

// of is what is known of a follower in a term. mu is held.
func (c *Commits) of(id raft.ServerID, term uint64) followerLog {
	if f := c.followers[id]; f.term == term {
		return f
	}
	return followerLog{term: term}
}

// reach is the last entry that a follower is known to have once it has accepted a request.
func reach(request *raft.AppendEntriesRequest) uint64 {
	return max(lastIndex(request), request.PrevLogEntry)
}
