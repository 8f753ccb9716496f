package raftstore

import (
	"errors"
	"runtime"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/failure"
)

func newClockCluster(t *testing.T) (*testCluster, *clocktesting.FakeClock) {
	clock := clocktesting.NewFakeClock(time.Unix(1_000_000, 0))
	// A member gets its vote after it was seen for a while.
	built, stepping := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(stepping)
		for {
			select {
			case <-built:
				return
			default:
				clock.Step(10 * time.Millisecond)
				runtime.Gosched()
			}
		}
	}()
	c := newTestCluster(t, 3, func(config *Config) { config.Clock = clock })
	close(built)
	<-stepping
	return c, clock
}

func (m *testMember) timeToLive(id int64) int64 {
	m.cluster.t.Helper()
	r, err := m.LeaseTimeToLive(testContext(m.cluster.t), &pb.LeaseTimeToLiveRequest{ID: id})
	if err != nil {
		m.cluster.t.Fatal(err)
	}
	return r.TTL
}

func (m *testMember) wantTimeToLive(id, least, most int64) {
	m.cluster.t.Helper()
	if ttl := m.timeToLive(id); ttl < least || ttl > most {
		m.cluster.t.Errorf("%s: lease %x has %d s left, want %d to %d", m.config.Identity.Name, id, ttl, least, most)
	}
}

// TestLeaseTimeSurvivesLeaderChange: the next leader does not give a lease its full time again, whether the
// last one could hand over or not (etcd#9395).
func TestLeaseTimeSurvivesLeaderChange(t *testing.T) {
	t.Run("handed over", func(t *testing.T) {
		c, clock := newClockCluster(t)
		leader, follower := c.leader(), c.follower()
		old, young, short := follower.grant(1000), follower.grant(1000), follower.grant(10)
		clock.Step(100 * time.Second)
		if _, err := leader.LeaseKeepAlive(testContext(t), young); err != nil {
			t.Fatal(err)
		}
		follower.eventually("to see a lease end", func() bool { return follower.timeToLive(short) == -1 })
		leader.stop()
		follower.wantTimeToLive(old, 895, 901)
		follower.wantTimeToLive(young, 995, 1001)
		// A renewal counts in full under the leader after that too.
		if ttl, err := follower.LeaseKeepAlive(testContext(t), old); err != nil || ttl != 1000 {
			t.Error(ttl, err)
		}
		leader.start()
		leader.eventually("to be back", func() bool { return leader.Status().AppliedIndex >= c.leader().Status().AppliedIndex })
		c.leader().stop()
		leader.wantTimeToLive(old, 995, 1001)
	})
	t.Run("not handed over", func(t *testing.T) {
		c, clock := newClockCluster(t)
		leader, follower := c.leader(), c.follower()
		id := follower.grant(1000)
		clock.Step(300 * time.Second)
		follower.eventually("to know what is left", func() bool { return follower.machine.Store().LeaseRemaining(id) == 700 })
		clock.Step(50 * time.Second)
		if err := leader.raft.LeadershipTransfer().Error(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "another leader", func() bool { return c.leader() != leader })
		follower.wantTimeToLive(id, 695, 701)
	})
}

// TestDeposedLeaderRenewsNothing (etcd#15247): who doesn't lead any more tells no client that its lease lives,
// and has none revoked.
func TestDeposedLeaderRenewsNothing(t *testing.T) {
	c, clock := newClockCluster(t)
	leader := c.leader()
	id := leader.grant(60)
	// It has not noticed yet: its lessor counts on.
	lessor := kv.NewLessor(leader.machine.Store(), clock, func([]kv.Checkpoint) {})
	defer lessor.Close()
	if err := leader.raft.LeadershipTransfer().Error(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "another leader", func() bool { return c.leader() != leader })
	leader.eventually("to notice", func() bool { return leader.lessor.Load() == nil })
	lessor.Promote(0)
	leader.lessor.Store(lessor)
	if _, err := leader.renewHere(testContext(t), id); !errors.Is(err, failure.ErrNotLeading) {
		t.Errorf("renewed: %v", err)
	}
	if failed := leader.revoke(testContext(t), []int64{id}); len(failed) != 1 {
		t.Error("revoked")
	}
	leader.lessor.Store(nil)
	leader.wantTimeToLive(id, 59, 61)
}

// TestCrowdOfLeasesExpires (etcd#12528): very many that expire together are gone soon, through the log of
// every member, and writes are taken meanwhile.
func TestCrowdOfLeasesExpires(t *testing.T) {
	c, clock := newClockCluster(t)
	follower := c.follower()
	const crowd = 3000
	granted := make(chan error, crowd)
	for i := range crowd {
		follower.ProposeAsync(testContext(t), kv.Command{LeaseGrant: &pb.LeaseGrantRequest{ID: int64(i + 1), TTL: 30}}, func(r kv.Result, err error) {
			granted <- firstError(err, r.Err)
		})
	}
	for range crowd {
		if err := <-granted; err != nil {
			t.Fatal(err)
		}
	}
	entries := c.leader().Status().LastIndex
	clock.Step(31 * time.Second)
	follower.put("meanwhile", "taken")
	follower.eventually("to see them all end", func() bool { return follower.Status().Store.Leases == 0 })
	if n := c.leader().Status().LastIndex - entries; n > crowd/20 {
		t.Errorf("%d entries for %d revocations", n, crowd)
	}
	if ttl, err := follower.LeaseKeepAlive(testContext(t), 1); !errors.Is(err, kv.ErrLeaseNotFound) {
		t.Error(ttl, err)
	}
}

// TestManyRenewalsAtAFollower share a stream, and each gets its own answer.
func TestManyRenewalsAtAFollower(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	follower := c.follower()
	id := follower.grant(100)
	answers := make(chan error, 200)
	for i := range cap(answers) {
		lease, want := id, error(nil)
		if i%3 == 0 {
			lease, want = int64(i+1), kv.ErrLeaseNotFound
		}
		go func() {
			ttl, err := follower.LeaseKeepAlive(testContext(t), lease)
			if want == nil && ttl != 100 || !errors.Is(err, want) {
				answers <- errors.Join(errors.New("a wrong answer"), err)
				return
			}
			answers <- nil
		}()
	}
	for range cap(answers) {
		if err := <-answers; err != nil {
			t.Error(err)
		}
	}
}
