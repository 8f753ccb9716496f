package peers

import (
	"context"
	"testing"

	"github.com/hashicorp/raft"
)

// TestCommitsAreToldOnce: a follower is told what it has acknowledged and nothing has told it, in the term that it was in.
func TestCommitsAreToldOnce(t *testing.T) {
	entries := func(term, last, commit uint64) *raft.AppendEntriesRequest {
		return &raft.AppendEntriesRequest{Term: term, Entries: []*raft.Log{{Index: last - 1}, {Index: last}}, LeaderCommitIndex: commit}
	}
	c := NewCommits(t.Context(), func(context.Context, raft.Server) {})
	want := func(what string, term, commit, want uint64) {
		t.Helper()
		if got := c.Untold("f", term, commit); got != want {
			t.Errorf("%s: %d is to be told, want %d", what, got, want)
		}
	}
	want("nothing is known", 3, 10, 0)
	c.sent("f", entries(3, 10, 7))
	want("sent, not acknowledged", 3, 10, 0)
	c.acknowledged("f", entries(3, 10, 7))
	select {
	case <-c.news:
	default:
		t.Error("nobody was woken by an acknowledgement")
	}
	if got := [...]uint64{c.Acknowledged("f", 3), c.Acknowledged("f", 4), c.Acknowledged("g", 3)}; got != [...]uint64{10, 0, 0} {
		t.Errorf("acknowledged: %d", got)
	}
	want("told with the entries", 3, 7, 0)
	want("committed since", 3, 9, 9)
	want("no more than it has", 3, 12, 10)
	want("another term", 4, 12, 0)
	c.sent("f", &raft.AppendEntriesRequest{Term: 3, PrevLogEntry: 9, LeaderCommitIndex: 9})
	want("told by itself", 3, 9, 0)
	c.sent("f", entries(3, 12, 20))
	want("told of what it was sent", 3, 10, 0)
	c.acknowledged("f", &raft.AppendEntriesRequest{Term: 3}) // a heartbeat
	c.sent("f", &raft.AppendEntriesRequest{Term: 3})
	want("a heartbeat", 3, 10, 0)
}

// TestWhatFollowersAreFedFrom: from the snapshot on, and then from what they have acknowledged.
func TestWhatFollowersAreFedFrom(t *testing.T) {
	c := NewCommits(t.Context(), func(context.Context, raft.Server) {})
	want := func(term, want uint64) {
		t.Helper()
		if got := c.Fed("f", term); got != want {
			t.Errorf("in term %d it is fed from %d on, want %d", term, got, want)
		}
	}
	c.acknowledged("f", &raft.AppendEntriesRequest{Term: 3, PrevLogEntry: 5})
	want(3, 0)
	c.feeds("f", 3, 7)
	want(3, 7)
	want(4, 0)
	c.acknowledged("f", &raft.AppendEntriesRequest{Term: 3, PrevLogEntry: 9})
	want(3, 9)
	c.feeds("f", 3, 0)
	want(3, 0)
}
