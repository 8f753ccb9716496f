package raftstore

import (
	"context"
	"sync"
	"time"

	"github.com/ctlplane/ctlplane/raftstore/membership"
	"github.com/ctlplane/ctlplane/raftstore/peers"
)

const (
	// unreachedLooks is how many times in a row the voters have to find that they don't reach the leader: a link may be lost for a moment.
	unreachedLooks = 2
	// reachPause is between two looks, in election timeouts, as long as they do: each look costs every member some work when it has
	// nothing else to do. The next one comes after a single one where they don't.
	reachPause = 5
)

// reachPatience is how long a voter tries to reach the leader before it says that it can't: as long as it waits for a heartbeat, so that
// a busy machine loses its lead no sooner by this.
func (m *Member) reachPatience() time.Duration { return max(aliveTimeout, m.config.HeartbeatTimeout) }

// watchReach hands the lead over when the others can't reach this member, while it leads: a firewall, or a wrong rule for its
// port, lets nothing in. Its heartbeats go out over its own connections all the same. They keep the others from an election, and
// leave them with a leader to whom they can pass nothing on.
//
//  1. A majority of the voters, without this one, has to say so: they can elect another leader without its vote, for which
//     nobody could ask it. A voter that does not answer says nothing.
//  2. Until then this member leads rightly, and its reads and writes are good: a majority answers each of them, over its own
//     connections. Afterwards it has no leader, since no heartbeat comes in, and says so.
//  3. The lead may go to any voter whose disk works. Whether the others reach that one, it finds out in the same way.
func (m *Member) watchReach(ctx context.Context) {
	for unreached := 0; ; {
		pause := m.config.HeartbeatTimeout // links take real time, whatever clock the leases have
		if unreached == 0 {
			pause *= reachPause
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
		if !m.unreachable(ctx) {
			unreached = 0
			continue
		}
		if unreached++; unreached == unreachedLooks {
			unreached = 0
			m.leaveUnreached(ctx)
		}
	}
}

// unreachable tells whether so many voters don't reach this member that they can replace it.
func (m *Member) unreachable(ctx context.Context) bool {
	voters := m.voters()
	majority := membership.Majority(voters)
	return majority < voters && m.unreachedBy(ctx) >= majority
}

// unreachedBy is how many voters say that they don't reach this member.
func (m *Member) unreachedBy(ctx context.Context) (n int) {
	ctx, cancel := context.WithTimeout(ctx, 2*m.reachPatience())
	defer cancel()
	self := m.config.Identity.MemberID
	voters := membership.Without(m.voterServers(), membership.ServerID(self))
	answers := make(chan bool, len(voters))
	var asking sync.WaitGroup
	for _, voter := range voters {
		asking.Go(func() { answers <- m.peers.Misses(ctx, voter.ID, self) })
	}
	asking.Wait()
	close(answers)
	for misses := range answers {
		if misses {
			n++
		}
	}
	return n
}

// leaveUnreached hands the lead to a voter that does not reach this member.
func (m *Member) leaveUnreached(ctx context.Context) {
	heir, ok := m.chooseHeir(ctx, 1, func(*peers.Health) bool { return true })
	if !ok {
		return
	}
	m.logger.Warn("this member leads, and a majority of the voters can't reach it: something keeps them from its peer port; handing over the lead",
		"address", m.config.Identity.PeerAddress, "leader", m.nameOf(heir.ID))
	ctx, cancel := context.WithTimeout(ctx, m.config.RequestTimeout)
	defer cancel()
	if err := m.transfer(ctx, heir); err != nil && m.life.Err() == nil {
		m.logger.Warn("the lead was not handed over; trying again", "to", m.nameOf(heir.ID), "error", err)
	}
}
