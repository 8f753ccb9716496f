package raftstore

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/pki"
)

func TestMemberIsRemoved(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	leader, gone := c.leader(), c.follower()
	id := gone.config.Identity.MemberID
	if err := gone.RemoveMember(testContext(t), id); err != nil { // through the leader
		t.Fatal(err)
	}
	members, err := leader.Members(testContext(t))
	if err != nil || len(members) != 2 {
		t.Fatalf("%v, %v", members, err)
	}
	if err := leader.RemoveMember(testContext(t), id); !errors.Is(err, kv.ErrMemberNotFound) {
		t.Errorf("removed again: %v", err)
	}
	gone.stop()
	leader.put("key", "value")

	// It knows of its removal, or the others don't know it: in neither case does it serve again.
	listener, err := Listen(gone.address)
	if err != nil {
		t.Fatal(err)
	}
	gone.config.Listener = listener
	if back, err := Open(gone.config); err == nil {
		gone.Member = back
		eventually(t, "the others to go on", func() bool { return leader.Status().Leader != 0 })
		leader.put("key", "after")
	} else if !errors.Is(err, ErrRemoved) {
		t.Error(err)
	}
}

func TestLeaderIsRemoved(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	leader, other := c.leader(), c.follower()
	id := leader.config.Identity.MemberID
	if err := leader.RemoveMember(testContext(t), id); err != nil {
		t.Fatal(err)
	}
	leader.stop()
	other.put("key", "value")
	eventually(t, "its record to go", func() bool {
		_, recorded := other.record(id)
		return !recorded
	})
}

func TestRemovalThatEndangersTheMajorityIsRefused(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	leader, down := c.leader(), c.follower()
	var third *testMember
	for _, m := range c.members {
		if m != leader && m != down {
			third = m
		}
	}
	down.stop()
	if err := leader.RemoveMember(testContext(t), third.config.Identity.MemberID); !errors.Is(err, ErrUnsafe) {
		t.Errorf("removal of a running member with one down: %v", err)
	}
	if err := third.RemoveMember(testContext(t), down.config.Identity.MemberID); err != nil {
		t.Errorf("removal of the one that is down: %v", err)
	}
	third.put("key", "value")
}

func TestNameOfARunningMemberIsTaken(t *testing.T) {
	c := newTestCluster(t, 2, nil)
	var refusal *pki.JoinError
	for _, m := range c.members {
		_, err := m.AddMember(testContext(t), NewMember{Name: "m2", PeerAddress: "127.0.0.1:1"})
		if !errors.As(err, &refusal) || !strings.Contains(refusal.Message, "choose another --name") {
			t.Errorf("got %v", err)
		}
	}
}

func TestPeerPortRefusesOthers(t *testing.T) {
	c := newTestCluster(t, 1, nil)
	other, err := pki.NewCA("other", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	for name, leaf := range map[string]func() (*pki.CA, pki.Leaf){
		"node":          func() (*pki.CA, pki.Leaf) { return c.ca, pki.NodeLeaf("n1") },
		"admin":         func() (*pki.CA, pki.Leaf) { return c.ca, pki.AdminLeaf() },
		"other cluster": func() (*pki.CA, pki.Leaf) { return other, pki.PeerLeaf("m9") },
	} {
		ca, template := leaf()
		certPEM, keyPEM, err := ca.IssuePair(template, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		source, err := pki.NewSource(certPEM, keyPEM)
		if err != nil {
			t.Fatal(err)
		}
		stream := newRaftStream(newConnListener(&net.TCPAddr{}), "", pki.PeerClient(source, c.ca, pki.ProtocolRaft))
		conn, err := stream.Dial(c.members[0].transport.LocalAddr(), testWait)
		if err == nil {
			_, err = conn.Read(make([]byte, 1))
			_ = conn.Close()
		}
		if err == nil || !strings.Contains(err.Error(), "tls") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
