package raftstore

import "testing"

// TestFollowersLearnWhatIsCommitted: of the last write too, though nothing comes after it, at voters and at one that was away.
func TestFollowersLearnWhatIsCommitted(t *testing.T) {
	c := newTestCluster(t, 3, func(config *Config) { config.HeartbeatTimeout = testWait }) // Raft itself tells it very late
	leader := c.leader()
	for _, m := range c.members {
		m.put("key", "value of "+m.config.Identity.Name)
		index := leader.machine.Store().AppliedIndex()
		for _, other := range c.members {
			other.eventually("to apply what is committed", func() bool { return other.machine.Store().AppliedIndex() >= index })
		}
	}
	for _, server := range leader.otherServers() {
		leader.eventually("to have told everything", func() bool {
			return leader.commits.Untold(server.ID, leader.raft.CurrentTerm(), leader.raft.CommitIndex()) == 0
		})
	}
}
