package raftstore

import (
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/raftstore/membership"
)

// links are those between members that reject connections, as a firewall does.
type links struct {
	mu       sync.Mutex
	rejected map[[2]string]bool // from, to
}

// of has a member's connections pass these links.
func (l *links) of(config *Config) {
	from := config.Identity.PeerAddress
	config.dialControl = func(_, to string, _ syscall.RawConn) error {
		l.mu.Lock()
		defer l.mu.Unlock()
		if l.rejected[[2]string{from, to}] {
			return syscall.ECONNREFUSED
		}
		return nil
	}
}

// reject has the link between two members reject connections in both directions, and breaks those that there are.
func (l *links) reject(a, b *testMember) {
	l.mu.Lock()
	if l.rejected == nil {
		l.rejected = map[[2]string]bool{}
	}
	l.rejected[[2]string{a.address, b.address}], l.rejected[[2]string{b.address, a.address}] = true, true
	l.mu.Unlock()
	a.breakConnsTo(b)
	b.breakConnsTo(a)
}

func (l *links) heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.rejected)
}

// breakConnsTo breaks the connections of Raft's that a member has dialled to another one.
func (m *testMember) breakConnsTo(other *testMember) {
	m.stream.BreakConnsTo(other.address)
}

// TestOneRejectingLinkDoesNotMoveTheLead: a follower whose connection to the leader was refused took the leader's process
// for ended, and stood for election past the others' objection, whenever its own link alone was broken.
func TestOneRejectingLinkDoesNotMoveTheLead(t *testing.T) {
	for _, size := range []int{3, 5} {
		var firewall links
		c := newTestCluster(t, size, firewall.of)
		leader, follower := c.leader(), c.follower()
		var other *testMember
		for _, m := range c.members {
			if m != leader && m != follower {
				other = m
			}
		}
		asked := make(chan raft.Observation, 16)
		observer := raft.NewObserver(asked, false, func(o *raft.Observation) bool {
			_, vote := o.Data.(raft.RequestVoteRequest)
			_, preVote := o.Data.(raft.RequestPreVoteRequest)
			return vote || preVote
		})
		other.raft.RegisterObserver(observer)
		before := leader.Status()
		firewall.reject(leader, follower)
		<-asked // for its vote, by the follower, once it has missed the leader's heartbeats
		firewall.heal()
		if now := c.leader(); now != leader || now.Status().Term != before.Term || now.Status().LeaderChanges != before.LeaderChanges {
			t.Errorf("%d members: one link moved the lead from %s in term %d to %s in term %d",
				size, before.Name, before.Term, now.config.Identity.Name, now.Status().Term)
		}
		other.raft.DeregisterObserver(observer)
		follower.put("key", "value")
	}
}

// patientHeartbeats are missed so late that only the others' agreement that its process has ended replaces a leader before.
const patientHeartbeats = 10 * time.Second

// TestLeaderThatEndsIsReplacedAtOnce: its followers need not miss its heartbeats where they agree that its process has ended.
func TestLeaderThatEndsIsReplacedAtOnce(t *testing.T) {
	for _, shape := range []struct{ members, down int }{{3, 0}, {5, 0}, {5, 1}} {
		c := newTestCluster(t, shape.members, func(config *Config) {
			config.HeartbeatTimeout, config.RequestTimeout = patientHeartbeats, testWait
		})
		leader := c.leader()
		leader.put("key", "before")
		var left []*testMember
		for _, m := range c.members {
			if m != leader {
				left = append(left, m)
			}
		}
		for _, down := range left[:shape.down] {
			down.cut()
		}
		left = left[shape.down:]
		stood := make(chan raft.Observation, 16)
		for _, m := range left {
			m.raft.RegisterObserver(raft.NewObserver(stood, false, func(o *raft.Observation) bool {
				vote, ok := o.Data.(raft.RequestVoteRequest)
				return ok && vote.LeadershipTransfer
			}))
		}
		start := time.Now()
		leader.cut()
		select {
		case <-stood: // by agreement; the election itself may be lost on a busy machine
		case <-time.After(patientHeartbeats):
			t.Errorf("the others wait until they have missed its heartbeats")
		}
		left[0].putAtLast("key", "after")
		t.Logf("%d members, %d of them down: the next write %v after the leader's end", shape.members, shape.down, time.Since(start).Round(time.Millisecond))
		left[1].wantValue("key", "after")
	}
}

// TestOnlyVoterLeadsAtOnce: it has nobody to agree with.
func TestOnlyVoterLeadsAtOnce(t *testing.T) {
	c := newTestCluster(t, 1, func(config *Config) { config.HeartbeatTimeout, config.RequestTimeout = patientHeartbeats, testWait })
	m := c.members[0]
	m.put("key", "value")
	m.stop()
	m.start()
	if _, err := m.Put(testContext(t), &pb.PutRequest{Key: []byte("key"), Value: []byte("again")}); err != nil {
		t.Error(err)
	}
}

// TestFollowerThatIsAheadReplacesTheLeader: the first to campaign was refused by another that had more of the log, and the lost
// election lasted until the next heartbeat timeout.
func TestFollowerThatIsAheadReplacesTheLeader(t *testing.T) {
	var firewall links
	c := newTestCluster(t, 3, func(config *Config) {
		firewall.of(config)
		config.HeartbeatTimeout, config.RequestTimeout = patientHeartbeats, testWait
	})
	leader := c.leader()
	var behind, ahead *testMember // the first to campaign, and the next
	for _, m := range c.members {
		if rank, _ := m.rank(membership.ServerID(leader.config.Identity.MemberID)); m != leader && rank == 0 {
			behind = m
		} else if m != leader {
			ahead = m
		}
	}
	firewall.reject(leader, behind)
	leader.put("key", "before")
	if have, want := behind.raft.LastIndex(), ahead.raft.LastIndex(); have >= want {
		t.Fatalf("one has entry %d, the other %d", have, want)
	}
	start := time.Now()
	leader.cut()
	ahead.putAtLast("key", "after")
	took := time.Since(start)
	if t.Logf("the next write %v after the leader's end", took.Round(time.Millisecond)); took >= patientHeartbeats {
		t.Errorf("the others waited until they missed its heartbeats")
	}
}
