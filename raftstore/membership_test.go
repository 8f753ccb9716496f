package raftstore

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/pki"
	"github.com/ctlplane/ctlplane/raftstore/membership"
	"github.com/ctlplane/ctlplane/raftstore/peers"
	"github.com/ctlplane/ctlplane/raftstore/raftlog"
)

// wantRemoved waits until a member has ended because it was removed.
func (m *testMember) wantRemoved() {
	t := m.cluster.t
	t.Helper()
	select {
	case <-m.Failed():
	case <-time.After(testWait):
		t.Fatalf("%s was removed, and does not end", m.config.Identity.Name)
	}
	if err := m.Err(); !errors.Is(err, ErrRemoved) {
		t.Errorf("%s was removed, and ended with %v", m.config.Identity.Name, err)
	}
}

// TestMemberIsRemoved: one that was removed ran on for ever, and did not say why it answered nothing.
func TestMemberIsRemoved(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	leader, gone := c.leader(), c.follower()
	id := gone.config.Identity.MemberID
	if err := gone.RemoveMember(testContext(t), id); err != nil { // through the leader
		t.Fatal(err)
	}
	gone.wantRemoved()
	members, err := leader.Members(testContext(t))
	if err != nil || len(members) != 2 {
		t.Fatalf("%v, %v", members, err)
	}
	if err := leader.RemoveMember(testContext(t), id); !errors.Is(err, kv.ErrMemberNotFound) {
		t.Errorf("removed again: %v", err)
	}
	gone.stop()
	leader.put("key", "value")
	gone.start()
	gone.wantRemoved()
	leader.put("key", "after")
}

// TestMemberThatIsDownIsRemoved: nothing in its data directory tells it; the others have to.
func TestMemberThatIsDownIsRemoved(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	leader, gone := c.leader(), c.follower()
	gone.stop()
	if err := leader.RemoveMember(testContext(t), gone.config.Identity.MemberID); err != nil {
		t.Fatal(err)
	}
	gone.start()
	gone.wantRemoved()
}

// TestMemberThatIsBeingRemovedGoesOn: the change is in its log, and the others don't say that it was made.
func TestMemberThatIsBeingRemovedGoesOn(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	leader, kept := c.leader(), c.follower()
	kept.put("key", "value")
	// What a leader leaves behind that is lost before anybody else has the change.
	without := raft.Configuration{}
	for _, server := range leader.servers() {
		if server.ID != membership.ServerID(kept.config.Identity.MemberID) {
			without.Servers = append(without.Servers, server)
		}
	}
	config := kept.Member.config // with its defaults
	kept.stop()
	dir := filepath.Join(kept.config.DataDir, "raft")
	stores, err := raftlog.Open(dir, raftlog.Options{Kind: config.LogStore, CacheBytes: config.LogCacheBytes, SegmentBytes: 1 << 20, Logger: config.Logger})
	if err != nil {
		t.Fatal(err)
	}
	last, err := stores.Log.LastIndex()
	if err != nil {
		t.Fatal(err)
	}
	var entry raft.Log
	if err := stores.Log.GetLog(last, &entry); err != nil {
		t.Fatal(err)
	}
	change := &raft.Log{Index: last + 1, Term: entry.Term, Type: raft.LogConfiguration, Data: raft.EncodeConfiguration(without)}
	if err := errors.Join(stores.Log.StoreLogs([]*raft.Log{change}), stores.Close()); err != nil {
		t.Fatal(err)
	}
	for _, other := range c.members {
		if other != leader && other != kept {
			if err := leader.MoveLeader(testContext(t), other.config.Identity.MemberID); err != nil { // in a later term
				t.Fatal(err)
			}
		}
	}
	kept.start()
	kept.put("key", "after")
	kept.wantValue("key", "after")
	if err := kept.Err(); err != nil {
		t.Errorf("a member that was not removed ended: %v", err)
	}
}

func TestLeaderIsRemoved(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	leader, other := c.leader(), c.follower()
	id := leader.config.Identity.MemberID
	if err := leader.RemoveMember(testContext(t), id); err != nil {
		t.Fatal(err)
	}
	leader.wantRemoved()
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
		stream := peers.NewStream(peers.StreamOptions{TLS: pki.PeerClient(source, c.ca, pki.ProtocolRaft)})
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
