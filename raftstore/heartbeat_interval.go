package raftstore

import "context"

// sendHeartbeats sends heartbeats, each HeartbeatInterval after the one before, while this member leads.
//
// Raft by itself sends them a tenth to a fifth of the election timeout apart, and goes on to: where the interval is longer than
// a tenth, some come before their time.
func (m *Member) sendHeartbeats(ctx context.Context) {
	ticker := m.config.Clock.NewTicker(m.config.HeartbeatInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C():
			m.raft.VerifyLeader() // has Raft send one to all at once; reads rest on a proof of their own, not on its answer
		case <-ctx.Done():
			return
		}
	}
}
