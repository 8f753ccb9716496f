package raftstore

import (
	"context"

	"github.com/hashicorp/raft"
)

// tellCommit tells one follower. What fails is left to Raft, which tells it again after CommitTimeout.
func (m *Member) tellCommit(_ context.Context, to raft.Server) {
	term := m.raft.CurrentTerm()
	index := m.commits.Untold(to.ID, term, m.raft.CommitIndex())
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
