package raftstore

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// TestLogIsCutOnceItHasGrown: by its bytes, at once, and down to a tail.
func TestLogIsCutOnceItHasGrown(t *testing.T) {
	c := newTestCluster(t, 3, func(config *Config) {
		config.LogStore = LogStoreBoltDB // what is cut off a segment of the other can be read as long as the segment is there
		config.SnapshotBytes, config.SnapshotInterval = 256<<10, time.Hour
	})
	value := strings.Repeat("v", 16<<10)
	for i := range 20 {
		c.leader().put(fmt.Sprint("key", i), value)
	}
	for _, m := range c.members {
		m.eventually("to cut its log", func() bool {
			newest, err := m.snapshots.Newest()
			if err != nil {
				t.Fatal(err)
			}
			first, _ := m.stores.Log.FirstIndex()
			return newest != nil && first > 1
		})
	}
}

// TestLogIsKeptForAFollowerThatIsBehind: it catches up from the log, which is cut when nobody needs it any more.
func TestLogIsKeptForAFollowerThatIsBehind(t *testing.T) {
	const entries = 64
	c := newTestCluster(t, 3, func(config *Config) {
		smallLogs(config)
		config.SnapshotEntries = entries
	})
	leader, follower := c.leader(), c.follower()
	leader.put("first", "value")
	follower.wantValue("first", "value")
	state, has := follower.machine.Store(), follower.machine.Store().AppliedIndex()
	cutAt := func() uint64 {
		newest, err := leader.snapshots.Newest()
		if err != nil {
			t.Fatal(err)
		}
		if newest == nil {
			return 0
		}
		return newest.Index
	}
	heal := follower.partition()
	for i := 0; cutAt() < has+entries; i++ {
		leader.put(fmt.Sprint("key", i), "value")
	}
	if first, _ := leader.stores.Log.FirstIndex(); first > has+1 {
		t.Errorf("the log begins with entry %d, the follower needs it from %d on", first, has+1)
	}
	leader.put("last", "value")
	heal()
	follower.wantValue("last", "value")
	if follower.machine.Store() != state {
		t.Error("the whole state was sent to the follower")
	}
	for i := 0; ; i++ {
		leader.put(fmt.Sprint("more", i), "value")
		if first, _ := leader.stores.Log.FirstIndex(); first > has+1 {
			break
		}
	}
}
