package raftstore

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ctlplane/ctlplane/api/peerpb"
	"github.com/ctlplane/ctlplane/raftstore/membership"
	"github.com/ctlplane/ctlplane/raftstore/notify"
)

const (
	// removalPause is between two looks whether this member was removed, and suspicionPause where it may well have been.
	removalPause   = 200 * time.Millisecond
	suspicionPause = 100 * time.Millisecond
	// removalTimeout bounds the question to the others.
	removalTimeout = time.Second
	// callsPatience is how long a member that was removed waits for its calls of RemoveMember to end, and answerTime how long
	// the answer to the last of them, which may be for its own removal, then has to leave this machine.
	callsPatience = time.Second
	answerTime    = 100 * time.Millisecond
)

// watchRemoval ends a member that was removed from its group.
//
// It hardly ever learns that from its own log: nobody sends it the entries after the change of members any more, and none
// at all if it was down or cut off. The change may be in its log and not be committed, and may yet be undone. So it asks the
// others, as long as it hears of no leader or its log says that it was removed, and takes the word of any of them: their
// state remembers every member that was removed.
func (m *Member) watchRemoval() {
	warned := false
	for {
		changed := m.changed.Next()
		if m.wasRemoved() {
			m.endRemoved()
			return
		}
		pause := removalPause
		if m.missing() || m.route().Leader == "" {
			pause = suspicionPause
		}
		if m.missing() && !warned {
			warned = true
			m.logger.Warn("the log says that this member is being removed from the cluster; asking the others whether it was")
		}
		select {
		case <-changed:
		case <-time.After(pause):
		case <-m.life.Done():
			return
		}
	}
}

// wasRemoved tells whether this member was certainly removed.
func (m *Member) wasRemoved() bool {
	if m.machine.Store().MemberRemoved(m.config.Identity.MemberID) {
		return true
	}
	return (m.missing() || m.route().Leader == "") && m.othersRemovedIt()
}

// missing tells whether the group, as far as this member's log knows it, has members and this is none of them.
func (m *Member) missing() bool {
	servers := m.servers()
	_, member := membership.Find(servers, membership.ServerID(m.config.Identity.MemberID))
	return len(servers) > 0 && !member
}

// othersRemovedIt tells whether any other member says that this one was removed.
func (m *Member) othersRemovedIt() bool {
	var asking sync.WaitGroup
	defer asking.Wait()
	ctx, cancel := context.WithTimeout(m.life, removalTimeout)
	defer cancel()
	self := &peerpb.RemovedRequest{ClusterId: m.config.Identity.ClusterID, Id: m.config.Identity.MemberID}
	servers := m.servers()
	answers := make(chan bool, len(servers))
	asked := 0
	for _, server := range servers {
		if server.ID != membership.ServerID(m.config.Identity.MemberID) {
			asked++
			asking.Go(func() { answers <- m.peers.Removed(ctx, server.ID, self) })
		}
	}
	for ; asked > 0; asked-- {
		if <-answers {
			return true
		}
	}
	return false
}

// endRemoved ends the member for good.
func (m *Member) endRemoved() {
	m.logger.Error("this member was removed from the cluster, and ends; to join again as a new member, delete its data directory and start it",
		"id", membership.ServerID(m.config.Identity.MemberID), "data-dir", m.config.DataDir)
	m.removals.answered(m.life)
	m.machine.End(ErrRemoved)
}

// removals are the calls of RemoveMember that are under way at a member, its own and those that others have passed on.
type removals struct {
	running atomic.Int64
	ended   notify.Signal
}

// begin notes a call, until end.
func (r *removals) begin() (end func()) {
	r.running.Add(1)
	return func() {
		r.running.Add(-1)
		r.ended.Notify()
	}
}

// answered returns once the calls have ended and were answered, or life has ended. It does not wait for long: a member that was
// removed may have nobody to pass a call on to.
func (r *removals) answered(life context.Context) {
	ctx, cancel := context.WithTimeout(life, callsPatience)
	defer cancel()
	for {
		ended := r.ended.Next()
		if r.running.Load() == 0 || ctx.Err() != nil {
			break
		}
		select {
		case <-ended:
		case <-ctx.Done():
		}
	}
	select {
	case <-time.After(answerTime):
	case <-life.Done():
	}
}
