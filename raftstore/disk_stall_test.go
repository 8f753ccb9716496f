package raftstore

import (
	"context"
	"errors"
	"sync"
	"syscall"
	"testing"

	"github.com/hashicorp/raft"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/disk"
	"github.com/ctlplane/ctlplane/raftstore/entry"
	"github.com/ctlplane/ctlplane/raftstore/raftlog/logtest"
)

// hangingDisks are members' disks that can be made to hang.
type hangingDisks struct {
	mu    sync.Mutex
	disks map[string]*logtest.Hanging
}

func (g *hangingDisks) of(config *Config) {
	name := config.Identity.Name
	config.wrapLog = func(store raft.LogStore) raft.LogStore {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.disks == nil {
			g.disks = map[string]*logtest.Hanging{}
		}
		g.disks[name] = logtest.NewHanging(store)
		return g.disks[name]
	}
}

// hang has a member's disk hang until the test ends, or until work is called.
func (g *hangingDisks) hang(t *testing.T, m *testMember) (work func()) { return g.set(t, m, true, nil) }

// fill has a member's disk refuse what is appended to its log until the test ends, or until room is called.
func (g *hangingDisks) fill(t *testing.T, m *testMember) (room func()) {
	return g.set(t, m, false, syscall.ENOSPC)
}

func (g *hangingDisks) set(t *testing.T, m *testMember, hangs bool, refusal error) (work func()) {
	disk := g.disk(m)
	disk.Set(hangs, refusal)
	work = func() { disk.Set(false, nil) }
	t.Cleanup(work) // before the cluster is closed
	return work
}

func (g *hangingDisks) disk(m *testMember) *logtest.Hanging {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.disks[m.config.Identity.Name]
}

// anotherLeads waits until the others have another leader.
func (m *testMember) anotherLeads() *testMember {
	t := m.cluster.t
	t.Helper()
	var next *testMember
	eventually(t, "another leader", func() bool {
		for _, other := range m.cluster.members {
			if other != m && other.Member != nil && other.route().Here {
				next = other
			}
		}
		return next != nil
	})
	return next
}

// TestLeaderWhoseDiskHangsHandsOver: its heartbeats went on, so that it led for ever and nothing was ever committed.
func TestLeaderWhoseDiskHangsHandsOver(t *testing.T) {
	var disks hangingDisks
	c := newTestCluster(t, 3, disks.of)
	leader := c.leader()
	leader.put("key", "before")
	work := disks.hang(t, leader)
	answered := make(chan error, 1)
	go func() {
		_, err := leader.Put(context.WithoutCancel(testContext(t)), &pb.PutRequest{Key: []byte("key"), Value: []byte("hangs")})
		answered <- err
	}()
	next := leader.anotherLeads()
	next.putAtLast("key", "after")
	eventually(t, "the one that led to know it", func() bool { return !leader.route().Here })
	wantMetrics(t, leader.metrics(), map[string]float64{
		"ctlplane_store_disk_stalled": 1, "ctlplane_store_disk_stalls_total": 1, "ctlplane_store_disk_stall_handovers_total": 1,
	})
	if err := <-answered; !errors.Is(err, ErrOutcomeUnknown) {
		t.Errorf("what was under way when the disk hung: %v", err)
	}
	leader.put("key", "through it") // it leads no more, and its clients have a way to who does
	work()
	leader.wantValue("key", "through it")
	leader.eventually("to be well again", func() bool { return leader.metrics()["ctlplane_store_disk_stalled"] == 0 })
}

// TestLeaderStuckInItsDiskIsReplaced: Raft's own loop waits for the disk where a change of the members is written, and takes
// no order to hand over.
func TestLeaderStuckInItsDiskIsReplaced(t *testing.T) {
	var disks hangingDisks
	c := newTestCluster(t, 3, disks.of)
	leader := c.leader()
	work := disks.hang(t, leader)
	leader.raft.AddNonvoter("9", "127.0.0.1:1", 0, 0)
	next := leader.anotherLeads()
	next.putAtLast("key", "value")
	work()
	leader.wantValue("key", "value")
}

// TestLeaderWhoseStateHangsHandsOver: entries are committed, but their writers never learn of it.
func TestLeaderWhoseStateHangsHandsOver(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	leader := c.leader()
	encoded := func(key string) []byte {
		command, err := (&kv.Command{Put: &pb.PutRequest{Key: []byte(key)}}).Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		return entry.Append(entry.New(len(command)+6), command)
	}
	work := sync.OnceFunc(leader.machine.Hold())
	defer work()
	leader.raft.Apply(encoded("key"), 0)
	next := leader.anotherLeads()
	next.putAtLast("key", "after")
	work()
	leader.wantValue("key", "after")
}

// TestFollowerWhoseDiskHangsHoldsNobodyUp: and it is not trusted with the lead, or with a majority.
func TestFollowerWhoseDiskHangsHoldsNobodyUp(t *testing.T) {
	var disks hangingDisks
	c := newTestCluster(t, 3, disks.of)
	leader, stuck := c.leader(), c.follower()
	var other *testMember
	for _, m := range c.members {
		if m != leader && m != stuck {
			other = m
		}
	}
	work := disks.hang(t, stuck)
	leader.put("key", "value")
	other.put("key", "after")
	stuck.eventually("to notice that its disk hangs", stuck.stalls)
	if err := leader.MoveLeader(testContext(t), stuck.config.Identity.MemberID); !errors.Is(err, ErrTransfereeHangs) {
		t.Errorf("the lead was moved to it: %v", err)
	}
	if err := leader.RemoveMember(testContext(t), other.config.Identity.MemberID); !errors.Is(err, ErrUnsafe) {
		t.Errorf("one of the two that work was removed: %v", err)
	}
	term := leader.Status().Term
	leader.handOver(testContext(t)) // as at its end, but that it goes on: it is needed for the majority
	leader.eventually("to lead no more", func() bool { return !leader.route().Here })
	if next := stuck.anotherLeads(); next != other || next.Status().Term != term+1 {
		t.Errorf("%s leads in term %d, want %s in term %d", next.config.Identity.Name, next.Status().Term, other.config.Identity.Name, term+1)
	}
	work()
	other.put("key", "last")
	stuck.wantValue("key", "last")
}

func TestIdleDiskThatHangsIsFound(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	leader, stuck := c.leader(), c.follower()
	release := make(chan struct{})
	work := sync.OnceFunc(func() { close(release) })
	defer work()
	stuck.probe = disk.NewProbe(hangingStable{stuck.stable, release})
	if err := leader.MoveLeader(testContext(t), stuck.config.Identity.MemberID); !errors.Is(err, ErrTransfereeHangs) {
		t.Errorf("the lead was moved to it: %v", err)
	}
	work()
	if err := leader.MoveLeader(testContext(t), stuck.config.Identity.MemberID); err != nil {
		t.Errorf("the lead was not moved to a member whose disk works again: %v", err)
	}
}

// hangingStable takes no writes until release is closed.
type hangingStable struct {
	raft.StableStore
	release chan struct{}
}

func (s hangingStable) SetUint64(key []byte, value uint64) error {
	<-s.release
	return s.StableStore.SetUint64(key, value)
}

// TestLeadStaysWhereNobodyCouldTakeIt: an election that can't be won helps nobody.
func TestLeadStaysWhereNobodyCouldTakeIt(t *testing.T) {
	var disks hangingDisks
	c := newTestCluster(t, 2, disks.of)
	leader := c.leader()
	term := leader.Status().Term
	work := disks.hang(t, leader)
	answered := make(chan error, 1)
	go func() {
		_, err := leader.Put(context.WithoutCancel(testContext(t)), &pb.PutRequest{Key: []byte("key"), Value: []byte("value")})
		answered <- err
	}()
	leader.eventually("to notice that its disk hangs", leader.stalls)
	leader.yieldLead(true)
	work()
	if err := <-answered; err != nil {
		t.Errorf("what waited for the disk: %v", err)
	}
	if now := leader.Status(); now.Term != term || now.Leader != now.ID {
		t.Errorf("%x leads in term %d, want %x in term %d", now.Leader, now.Term, now.ID, term)
	}
}
