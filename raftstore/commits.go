package raftstore

import (
	"context"
	"sync"
	"time"

	"github.com/hashicorp/raft"
)

// commitPause is how long a commit waits for an entry that tells a follower of it.
const commitPause = time.Millisecond

// commits tells followers how far is committed where no entry does.
//
// Raft tells it with entries, and when none come, every CommitTimeout, whether there is something to tell or not: every few
// milliseconds for ever, if what was committed last shall be seen at once. So its timeout is long here, and this tells what
// Raft has not: an index that is committed, to a follower that has acknowledged the entry, in a request of its own. The
// request names that entry as the one before it, so that a follower whose log differs takes nothing from it.
type commits struct {
	// news has a token when there may be something to tell.
	news chan struct{}
	crew *crew

	mu        sync.Mutex
	followers map[raft.ServerID]followerLog
}

// followerLog is what a leader knows of a follower's log, in a term.
type followerLog struct {
	term  uint64
	acked uint64 // the last entry that it is known to have
	told  uint64 // the last commit that was sent to it
}

func newCommits(life context.Context, tell func(context.Context, raft.Server)) *commits {
	return &commits{news: make(chan struct{}, 1), crew: newCrew(life, tell), followers: map[raft.ServerID]followerLog{}}
}

// advanced says that there is something to tell.
func (c *commits) advanced() {
	select {
	case c.news <- struct{}{}:
	default:
	}
}

// sent notes what a request tells.
func (c *commits) sent(to raft.ServerID, request *raft.AppendEntriesRequest) {
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
func (c *commits) acknowledged(by raft.ServerID, request *raft.AppendEntriesRequest) {
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
		c.advanced()
	}
}

// untold is the commit that a follower should be told of; 0 if there is none.
func (c *commits) untold(id raft.ServerID, term, commit uint64) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	f := c.of(id, term)
	if now := min(commit, f.acked); now > f.told {
		return now
	}
	return 0
}

// of is what is known of a follower in a term. mu is held.
func (c *commits) of(id raft.ServerID, term uint64) followerLog {
	if f := c.followers[id]; f.term == term {
		return f
	}
	return followerLog{term: term}
}

// reach is the last entry that a follower is known to have once it has accepted a request.
func reach(request *raft.AppendEntriesRequest) uint64 {
	return max(lastIndex(request), request.PrevLogEntry)
}

// tellCommits has followers told what is committed while this member leads.
func (m *Member) tellCommits(ctx context.Context) {
	timer := time.NewTimer(commitPause)
	defer timer.Stop()
	for {
		select {
		case <-m.commits.news:
		case <-ctx.Done():
			return
		}
		timer.Reset(commitPause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			return
		}
		m.commits.crew.wake(m.otherServers())
	}
}

// tellCommit tells one follower. What fails is left to Raft, which tells it again after CommitTimeout.
func (m *Member) tellCommit(_ context.Context, to raft.Server) {
	term := m.raft.CurrentTerm()
	index := m.commits.untold(to.ID, term, m.raft.CommitIndex())
	if index == 0 || !m.leadsIn(term) {
		return
	}
	var entry raft.Log
	if err := m.stores.Log.GetLog(index, &entry); err != nil {
		return // it was cut off; the next one is told
	}
	request := m.request(term)
	request.PrevLogEntry, request.PrevLogTerm, request.LeaderCommitIndex = entry.Index, entry.Term, index
	_ = m.transport.AppendEntries(to.ID, to.Address, request, &raft.AppendEntriesResponse{})
}
