package raftstore

import (
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ctlplane/ctlplane/raftstore/membership"
	"github.com/ctlplane/ctlplane/raftstore/peers"
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

// slowSnapshots is a network on which the first snapshot takes its time.
type slowSnapshots struct {
	peers.Network
	*transfers
}

type transfers struct {
	number  atomic.Int32
	begun   chan struct{} // closed when the first has
	release chan struct{} // closed to let it through
}

func (s slowSnapshots) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, request *raft.InstallSnapshotRequest, response *raft.InstallSnapshotResponse, data io.Reader) error {
	if s.number.Add(1) == 1 {
		close(s.begun)
		<-s.release
	}
	return s.Network.InstallSnapshot(id, target, request, response, data)
}

// TestLogIsKeptForAFollowerThatIsSentTheState: it was cut meanwhile like for any follower that is behind, and a follower to which
// the state takes longer than so many writes needed it again and again, for as long as there were as many writes.
func TestLogIsKeptForAFollowerThatIsSentTheState(t *testing.T) {
	sent := &transfers{begun: make(chan struct{}), release: make(chan struct{})}
	c := newTestCluster(t, 3, func(config *Config) {
		smallLogs(config)
		config.wrapNetwork = func(n peers.Network) peers.Network { return slowSnapshots{n, sent} }
	})
	leader, follower := c.leader(), c.follower()
	last := follower.machine.Store().AppliedIndex()
	heal := follower.partition()
	cutAt := func() uint64 {
		newest, err := leader.snapshots.Newest()
		if err != nil || newest == nil {
			t.Fatal(newest, err)
		}
		return newest.Index
	}
	for i := 0; ; i++ {
		leader.put(fmt.Sprint("key", i), "value")
		if first, _ := leader.stores.Log.FirstIndex(); first > last+64 {
			break
		}
	}
	heal()
	select {
	case <-sent.begun:
	case <-testContext(t).Done():
		t.Fatal("no snapshot is sent")
	}
	for i, begun := 0, cutAt(); cutAt() < begun+20*leader.config.SnapshotEntries; i++ {
		leader.put(fmt.Sprint("more", i), "value")
	}
	close(sent.release)
	leader.put("last", "value")
	follower.wantValue("last", "value")
	if n := sent.number.Load(); n != 1 {
		t.Errorf("%d snapshots were sent", n)
	}
	// The log is cut again once it has caught up.
	kept, _ := leader.stores.Log.FirstIndex()
	for i := 0; ; i++ {
		leader.put(fmt.Sprint("after", i), "value")
		if first, _ := leader.stores.Log.FirstIndex(); first > kept+20*leader.config.SnapshotEntries {
			break
		}
	}
	// Nor is it kept for one that has ended.
	id, term := membership.ServerID(follower.config.Identity.MemberID), leader.raft.CurrentTerm()
	if leader.commits.Fed(id, term) == 0 {
		t.Error("nothing is known of the snapshot any more")
	}
	follower.stop()
	leader.eventually("to find that it is silent", func() bool { return leader.commits.Fed(id, term) == 0 })
}
