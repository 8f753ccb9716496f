package raftstore

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/raftstore/peers"
)

// refusedEntries has the leader's disk refuse entries that the followers have. It returns the leader, who gives up the lead, and the
// next one.
func refusedEntries(t *testing.T, c *testCluster, disks *hangingDisks) (old, next *testMember, room func()) {
	t.Helper()
	old = c.leader()
	disks.hang(t, old)
	before := old.raft.LastIndex()
	var puts sync.WaitGroup
	defer puts.Wait()
	for i := range 3 {
		puts.Go(func() { _ = old.tryPut(t, fmt.Sprint("refused", i)) })
	}
	eventually(t, "the disk to be asked", disks.disk(old).Asked)
	for _, m := range c.members {
		if m != old {
			eventually(t, "the followers to have entries", func() bool { return m.raft.LastIndex() > before })
		}
	}
	room = disks.fill(t, old)
	return old, old.anotherLeads(), room
}

// tryFor is how long a request is tried that may not come through.
const tryFor = 5 * time.Second

// tryPut puts a key, or gives up.
func (m *testMember) tryPut(t *testing.T, key string) error {
	ctx, cancel := context.WithTimeout(t.Context(), tryFor)
	defer cancel()
	_, err := m.Put(ctx, &pb.PutRequest{Key: []byte(key), Value: []byte("value")})
	return err
}

// TestLeaderWhoseDiskIsFullIsReplaced: it led on by its heartbeats while its followers' acknowledgements waited for its disk, and as
// a candidate it won elections by entries that it had not written. When it was told that these are committed, its process ended.
func TestLeaderWhoseDiskIsFullIsReplaced(t *testing.T) {
	var disks hangingDisks
	c := newTestCluster(t, 3, disks.of)
	for range 5 {
		old, next, room := refusedEntries(t, c, &disks)
		term := next.raft.CurrentTerm()
		for i := range 20 {
			next.putAtLast(fmt.Sprint("key", i), "value")
		}
		if now := next.raft.CurrentTerm(); now != term {
			t.Errorf("term %d came after %d while the old leader's disk was full", now, term)
		}
		room()
		old.eventually("to catch up", func() bool { return old.Status().AppliedIndex >= next.Status().AppliedIndex })
	}
}

// TestMemberAcknowledgesNothingThatItsDiskRefuses: neither by a request without entries, nor by one that tells of a commit.
func TestMemberAcknowledgesNothingThatItsDiskRefuses(t *testing.T) {
	var disks hangingDisks
	c := newTestCluster(t, 3, disks.of)
	old, next, room := refusedEntries(t, c, &disks)
	next.putAtLast("key", "value")
	var last raft.Log
	if err := next.stores.Log.GetLog(old.raft.LastIndex(), &last); err != nil {
		t.Fatal(err)
	}
	for _, commit := range []uint64{0, last.Index} {
		request := next.request(next.raft.CurrentTerm())
		request.PrevLogEntry, request.PrevLogTerm, request.LeaderCommitIndex = last.Index, last.Term, commit
		var response raft.AppendEntriesResponse
		if err := next.transport.AppendEntries(raftID(old), raft.ServerAddress(old.address), request, &response); err != nil || response.Success {
			t.Errorf("entry %d, with commit %d: %+v, %v", last.Index, commit, response, err)
		}
	}
	room()
	old.eventually("to catch up", func() bool { return old.Status().AppliedIndex >= next.Status().AppliedIndex })
}

func raftID(m *testMember) raft.ServerID {
	for _, server := range m.servers() {
		if string(server.Address) == m.address {
			return server.ID
		}
	}
	return ""
}

// TestFollowerReplacesItsEntriesOnAFullDisk: a leader that was cut off has entries that nobody else has, and its disk is full when they
// are to be replaced. Raft then took its log for longer than it was, and the follower could not follow before a restart.
func TestFollowerReplacesItsEntriesOnAFullDisk(t *testing.T) {
	for name, configure := range map[string]func(*Config){"whole logs": func(*Config) {}, "short logs": smallLogs} {
		t.Run(name, func(t *testing.T) {
			var disks hangingDisks
			c := newTestCluster(t, 3, func(config *Config) {
				configure(config)
				disks.of(config)
			})
			old := c.leader()
			old.put("key", "before")
			heal := old.partition()
			var puts sync.WaitGroup
			for i := range 8 {
				puts.Go(func() { _ = old.tryPut(t, fmt.Sprint("lost", i)) })
			}
			next := old.anotherLeads()
			next.putAtLast("key", "after")
			puts.Wait()
			room := disks.fill(t, old)
			heal()
			eventually(t, "entries to be refused", func() bool { return old.stores.Log.Refusals() > 1 })
			applied := next.Status().AppliedIndex
			room()
			old.eventually("to catch up", func() bool { return old.Status().AppliedIndex >= applied })
		})
	}
}

// plainNetwork has no pipelines, as Raft is at the beginning of a term and after each lost connection. It tells of heartbeats.
type plainNetwork struct {
	peers.Network
	beat func(term uint64)
}

func (n plainNetwork) AppendEntriesPipeline(raft.ServerID, raft.ServerAddress) (raft.AppendPipeline, error) {
	return nil, raft.ErrPipelineReplicationNotSupported
}

func (n plainNetwork) AppendEntries(id raft.ServerID, target raft.ServerAddress, request *raft.AppendEntriesRequest, response *raft.AppendEntriesResponse) error {
	if len(request.Entries) == 0 && request.PrevLogEntry == 0 {
		n.beat(request.Term)
	}
	return n.Network.AppendEntries(id, target, request, response)
}

// TestDeposedLeaderEndsItsHeartbeats: they went on while a follower's acknowledgement waited for the disk.
func TestDeposedLeaderEndsItsHeartbeats(t *testing.T) {
	var disks hangingDisks
	var deposed, beats atomic.Uint64
	c := newTestCluster(t, 3, func(config *Config) {
		disks.of(config)
		config.wrapNetwork = func(n peers.Network) peers.Network {
			return plainNetwork{n, func(term uint64) {
				if term == deposed.Load() {
					beats.Add(1)
				}
			}}
		}
	})
	old := c.leader()
	term := old.raft.CurrentTerm()
	disks.fill(t, old)
	if err := old.tryPut(t, "key"); err == nil {
		t.Error("a full disk has taken an entry")
	}
	next := old.anotherLeads()
	next.putAtLast("key", "value")
	deposed.Store(term)
	for until := time.Now().Add(3 * time.Second); time.Now().Before(until); {
		next.putAtLast("key", "value")
	}
	if n := beats.Load(); n > 0 {
		t.Errorf("%d heartbeats of term %d while term %d lasts", n, term, next.raft.CurrentTerm())
	}
}

// TestMemberWhoseLogHasFailedEnds: a log that has failed takes nothing more until a restart.
func TestMemberWhoseLogHasFailedEnds(t *testing.T) {
	m := newTestCluster(t, 1, nil).leader()
	failure := errors.New("input/output error")
	m.logOptions().OnFailed(failure)
	<-m.Failed()
	if !errors.Is(m.Err(), failure) {
		t.Errorf("the member ended with %v", m.Err())
	}
}
