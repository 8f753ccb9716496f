package raftstore

import (
	"context"
	"net"
	"path/filepath"
	"testing"

	"github.com/ctlplane/ctlplane/raftstore/membership"
)

// formed tells whether WaitFormed has returned, and waits for it if it is to.
func (ms *masters) formed(i int, want bool) {
	ms.t.Helper()
	ctx, cancel := context.WithCancel(testContext(ms.t))
	defer cancel()
	if want {
		if err := ms.running[i].WaitFormed(ctx); err != nil {
			ms.t.Fatal(err)
		}
		if err := ms.running[i].Forming(); err != nil {
			ms.t.Errorf("formed, and still: %v", err)
		}
		return
	}
	if ms.running[i].Forming() == nil {
		ms.t.Error("clients are served before a majority of the masters votes")
	}
	cancel()
	if ms.running[i].WaitFormed(ctx) == nil {
		ms.t.Error("WaitFormed does not wait")
	}
}

// TestNoClientBeforeAMajorityVotes: the first master of five began to serve alone, and a write that it acknowledged was on its disk
// only; if it died once all said that they were ready, the others had no vote and elected nobody.
func TestNoClientBeforeAMajorityVotes(t *testing.T) {
	ms := newMasters(t, 5)
	ms.start(0)
	ms.formed(0, false)
	ms.stop(0)
	ms.start(0) // it has not forgotten
	ms.start(1)
	ms.formed(1, true)
	ms.formed(0, false)

	ms.start(2)
	ms.formed(0, true)
	ms.formed(2, true)
	ms.stop(0) // of three voters
	ms.member(1).put("key", "value")

	// A cluster that was formed and has shrunk since waits for nobody.
	ms.start(0)
	ms.formed(0, true)
	for _, i := range []int{1, 2} {
		id := ms.running[i].Member.Identity().MemberID
		eventually(t, "the removal", func() bool { return ms.running[0].Member.RemoveMember(testContext(t), id) == nil })
		ms.member(i).wantRemoved()
		ms.stop(i)
	}
	ms.stop(0)
	ms.start(0)
	ms.formed(0, true)
	if voters := len(ms.running[0].Member.voterServers()); voters != 1 {
		t.Errorf("%d voters", voters)
	}
}

// TestAnotherListIsWaitedFor: whoever wrote the list wrongly can mend it.
func TestAnotherListIsWaitedFor(t *testing.T) {
	ms := newMasters(t, 3)
	ms.start(0)
	ms.formed(0, false)
	ms.stop(0)
	ms.configs[0].Peers = ms.peers[:1]
	ms.start(0)
	ms.formed(0, true)

	// What is noted later leaves it at that.
	_, port, err := net.SplitHostPort(ms.peers[0].Address)
	if err != nil {
		t.Fatal(err)
	}
	moved := "localhost:" + port
	m := ms.running[0].Member
	if err := m.UpdateMember(testContext(t), m.Identity().MemberID, []string{"https://" + moved}); err != nil {
		t.Fatal(err)
	}
	var noted Identity
	eventually(t, "the new address to be noted", func() bool {
		noted, _, err = LoadIdentity(ms.configs[0].DataDir)
		return err == nil && noted.PeerAddress == moved
	})
	if noted.Founders != 0 {
		t.Errorf("the next start waits for %d masters again", noted.Founders)
	}
}

// TestAMasterThatIsStartedAgainStillNeedsItsVote: one that was started again between its joining and its vote served at once. What was
// written by it was on the first master's disk only.
func TestAMasterThatIsStartedAgainStillNeedsItsVote(t *testing.T) {
	ms := newMasters(t, 3)
	ms.start(0)
	ms.start(1)
	ms.stop(1) // sooner than it can catch up, as a rule
	ms.start(1)
	ms.formed(1, true)
	id := membership.ServerID(ms.running[1].Member.Identity().MemberID)
	if _, votes := membership.Find(ms.running[1].Member.voterServers(), id); !votes {
		t.Error("clients are served by a member without a vote")
	}
	ms.formed(0, true)
}

// TestAnAddedLearnerNeedsNoVote: it is not to get one by itself, and serves what a learner does.
func TestAnAddedLearnerNeedsNoVote(t *testing.T) {
	ms := newMasters(t, 2)
	ms.configs[0].Peers = ms.peers[:1]
	ms.start(0)
	if _, err := ms.running[0].Member.ReserveMember(testContext(t), []string{"https://" + ms.peers[1].Address}, true); err != nil {
		t.Fatal(err)
	}
	ms.start(1)
	ms.formed(1, true)
	if voters := len(ms.running[0].Member.voterServers()); voters != 1 {
		t.Errorf("%d voters", voters)
	}
}

// TestAFullDiskDoesNotKeepClientsOut: deletions are what makes room again.
func TestAFullDiskDoesNotKeepClientsOut(t *testing.T) {
	mount := smallDisk(t, "64m")
	ms := newMasters(t, 2)
	ms.configs[0].DataDir = filepath.Join(mount, "data")
	t.Cleanup(func() { ms.stop(0) }) // before the disk is taken away
	ms.start(0)
	takeSpace(t, mount, 0)
	ms.start(1)
	ms.formed(0, true)
}
