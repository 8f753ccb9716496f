package raftstore

import (
	"sync"
	"testing"
	"time"
)

// TestMembersThatStartTogetherElectAtOnce: after a power failure nobody waits for the heartbeats of a leader that there isn't.
func TestMembersThatStartTogetherElectAtOnce(t *testing.T) {
	c := newTestCluster(t, 3, func(config *Config) {
		config.HeartbeatTimeout = 10 * testWait
		config.HeartbeatInterval = 50 * time.Millisecond
	})
	c.leader().put("key", "before")
	for _, m := range c.members {
		m.stop()
	}
	var starting sync.WaitGroup
	for _, m := range c.members {
		starting.Go(m.start)
	}
	starting.Wait()
	for _, m := range c.members {
		m.eventually("to know a leader", func() bool { return m.Status().Leader != 0 })
		m.wantValue("key", "before")
	}
	term := c.leader().Status().Term

	// One that starts while there is a leader leaves it alone.
	follower := c.follower()
	follower.stop()
	follower.start()
	follower.eventually("to know the leader", func() bool { return follower.Status().Leader != 0 })
	follower.wantValue("key", "before")
	if now := c.leader().Status().Term; now != term {
		t.Errorf("a member that started alone began term %d after %d", now, term)
	}
}
