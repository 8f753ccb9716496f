package raftstore

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/membership"
)

// reserve adds a member that is not started yet, at whichever member is asked.
func (m *testMember) reserve(address string, learner bool) uint64 {
	m.cluster.t.Helper()
	id, err := m.ReserveMember(testContext(m.cluster.t), []string{"http://" + address}, learner)
	if err != nil {
		m.cluster.t.Fatal(err)
	}
	return id
}

// startReserved starts the machine that a member was added for.
func (c *testCluster) startReserved(id uint64, address string) *testMember {
	c.t.Helper()
	name := fmt.Sprintf("m%d", len(c.members)+1)
	for range 2 { // the answer may be lost: it asks again
		got, err := c.leader().AddMember(testContext(c.t), NewMember{Name: name, PeerAddress: address})
		if err != nil || got != id {
			c.t.Fatalf("joined as %x, want %x: %v", got, id, err)
		}
	}
	return c.open(Identity{ClusterID: 1, MemberID: id, Name: name, PeerAddress: address})
}

func (m *testMember) listed(id uint64) *pb.Member {
	m.cluster.t.Helper()
	members, err := m.Members(testContext(m.cluster.t))
	if err != nil {
		m.cluster.t.Fatal(err)
	}
	for _, member := range members {
		if member.ID == id {
			return member
		}
	}
	return nil
}

func TestReservedMemberJoinsAndVotes(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	address := freeAddress(c.t)
	id := c.leader().reserve(address, false)
	if got := c.leader().listed(id); got == nil || got.Name != "" || got.IsLearner || got.PeerURLs[0] != "http://"+address {
		t.Fatalf("before it is started: %v", got)
	}
	if _, err := c.leader().ReserveMember(testContext(t), []string{"https://" + address}, false); !errors.Is(err, ErrNotEnoughStarted) {
		t.Errorf("one more, while that is not started: %v", err)
	}
	if _, err := c.leader().ReserveMember(testContext(t), []string{"https://" + address}, true); !errors.Is(err, ErrPeerURLExists) {
		t.Errorf("at the same address: %v", err)
	}
	m := c.startReserved(id, address)
	m.eventually("to vote", func() bool { return !m.Status().IsLearner })
	m.put("key", "value")
	m.eventually("to write its name", func() bool { return m.listed(id).Name == "m2" })
	if got := m.listed(id); got.IsLearner || membership.HostPort(got.PeerURLs) != address {
		t.Errorf("%v", got)
	}
}

func TestLearnerWaitsForItsPromotion(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	asked := c.follower()
	address := freeAddress(c.t)
	id := asked.reserve(address, true)
	if err := asked.PromoteMember(testContext(t), id); !errors.Is(err, ErrLearnerNotReady) {
		t.Errorf("promotion before it is started: %v", err)
	}
	if _, err := asked.ReserveMember(testContext(t), []string{"http://127.0.0.1:1"}, true); !errors.Is(err, ErrTooManyLearners) {
		t.Errorf("a second learner: %v", err)
	}
	m := c.startReserved(id, address)
	asked.put("key", "value")
	m.eventually("to catch up", func() bool { return m.get("key") == "value" })
	m.eventually("to write its name", func() bool { return asked.listed(id).Name == "m4" })
	if !m.IsLearner() || !asked.listed(id).IsLearner {
		t.Error("it was promoted by itself")
	}
	moved := "https://localhost:" + address[strings.LastIndex(address, ":")+1:]
	if err := asked.UpdateMember(testContext(t), id, []string{moved}); err != nil {
		t.Error(err)
	}
	if got := asked.listed(id); !got.IsLearner || got.PeerURLs[0] != moved {
		t.Errorf("after a change of its address: %v", got)
	}
	eventually(t, "its promotion", func() bool {
		err := asked.PromoteMember(testContext(t), id)
		if err != nil && !errors.Is(err, ErrLearnerNotReady) {
			t.Fatal(err)
		}
		return err == nil
	})
	m.eventually("to vote", func() bool { return !m.Status().IsLearner && !m.IsLearner() })
	if err := asked.PromoteMember(testContext(t), id); !errors.Is(err, ErrNotLearner) {
		t.Errorf("promotion of a voter: %v", err)
	}
	promotions := 0.0
	for _, m := range c.members {
		promotions += m.metrics()["etcd_server_learner_promote_successes"]
	}
	if promotions != 1 {
		t.Errorf("%v promotions were counted", promotions)
	}
}

func TestReservationIsTakenBack(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	address := freeAddress(c.t)
	id := c.leader().reserve(address, false)
	if err := c.leader().RemoveMember(testContext(t), id); err != nil {
		t.Fatal(err)
	}
	if c.leader().listed(id) != nil {
		t.Error("it is still listed")
	}
	if err := c.leader().RemoveMember(testContext(t), id); !errors.Is(err, kv.ErrMemberNotFound) {
		t.Errorf("removed again: %v", err)
	}
	if again := c.leader().reserve(address, false); again == id {
		t.Error("its id came back")
	}
}

func TestVoterIsNotReserved(t *testing.T) {
	c := newTestCluster(t, 2, nil)
	for _, m := range c.members {
		if reserved, ok := c.leader().reservation(m.address); ok {
			t.Errorf("%s could be had again: %+v", m.config.Identity.Name, reserved)
		}
	}
}

// TestMovedMemberKnowsItsAddress: after a change of its address a member starts at the new one.
func TestMovedMemberKnowsItsAddress(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	moved := c.follower()
	address := freeAddress(c.t)
	if err := c.leader().UpdateMember(testContext(t), moved.config.Identity.MemberID, []string{"https://" + address}); err != nil {
		t.Fatal(err)
	}
	moved.eventually("to note its address", func() bool {
		identity, ok, err := LoadIdentity(moved.config.DataDir)
		return ok && err == nil && identity.PeerAddress == address
	})
	moved.stop()
	moved.address, moved.config.Identity.PeerAddress = address, address
	moved.start()
	c.leader().put("key", "value")
	moved.eventually("to be reached there", func() bool { return moved.Revision() == c.leader().Revision() })
}
