package raftstore

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ctlplane/ctlplane/api/peerpb"
)

const (
	// probeTimeout bounds the question whether the leader's process is there, agreeTimeout that for the others' agreement.
	probeTimeout = 200 * time.Millisecond
	agreeTimeout = 500 * time.Millisecond
	// standStagger is between the followers' attempts, so that two don't split the votes.
	standStagger = 100 * time.Millisecond
	// agreementLife is how long a member that has agreed with a candidate agrees with no other one.
	agreementLife = time.Second
)

// watchLeader stands for election as soon as the leader's process has certainly ended, instead of waiting for its
// heartbeats to be missed: a connection of Raft's broke, and nothing listens at the leader's address any more. A machine
// or network that is lost shows neither, and takes a heartbeat timeout.
//
//  1. What one member sees decides nothing: a firewall may reject its link alone. A majority of the voters has to find
//     that nothing listens there, as it takes a majority to win the vote about an election that heartbeats have caused.
//  2. A member agrees with one candidate at a time, itself included, so that two that notice it together don't split the
//     votes.
//  3. Safety does not rest on it. It only asks Raft to begin an election, in the way that a leader does which hands over;
//     a log that is behind still loses it.
func (m *Member) watchLeader() {
	m.standAlone()
	for {
		select {
		case <-m.stream.broken:
		case <-m.life.Done():
			return
		}
		m.replaceLeader()
	}
}

// replaceLeader tries to replace a leader whose process has ended, until it is heard of again, there is another one, or
// none is known: then the heartbeat timeout has begun an election.
func (m *Member) replaceLeader() {
	_, leader := m.raft.LeaderWithID()
	rank, votes := m.rank(leader)
	if leader == "" || !votes || m.stalls() {
		return
	}
	self := serverID(m.config.Identity.MemberID)
	begun, wait := time.Now(), time.Duration(rank)*standStagger
	for {
		changed := m.changed.next()
		if _, now := m.raft.LeaderWithID(); now != leader || !m.gone(leader) || m.raft.LastContact().After(begun) {
			return
		}
		select {
		case <-time.After(wait):
		case <-changed:
			continue
		case <-m.life.Done():
			return
		}
		if m.agreement.give(self) {
			if m.othersAgree(leader) {
				m.logger.Info("the leader's process has ended, a majority agrees; standing for election", "leader", m.nameOf(leader))
				m.stand()
				return
			}
			m.agreement.takeBack(self)
		}
		wait = time.Duration(rank+1) * standStagger
	}
}

// standAlone begins the election that the only voter of a group wins, with nobody to wait for.
func (m *Member) standAlone() {
	if rank, votes := m.rank(""); rank == 0 && votes && m.voters() == 1 {
		m.stand()
	}
}

// stand begins an election now. When it can't, the heartbeat timeout does.
func (m *Member) stand() {
	if err := m.haveStand(serverID(m.config.Identity.MemberID), m.transport.LocalAddr()); err != nil {
		m.logger.Debug("the election waits for the heartbeat timeout", "error", err)
	}
}

// haveStand has a voter stand for election now, and the others vote although they have a leader.
func (m *Member) haveStand(id raft.ServerID, address raft.ServerAddress) error {
	return m.transport.TimeoutNow(id, address,
		&raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}}, &raft.TimeoutNowResponse{})
}

// rank is this member's place among the voters that are left without a leader, the same order on each.
func (m *Member) rank(leader raft.ServerID) (rank int, votes bool) {
	var left []raft.ServerID
	for _, server := range m.servers() {
		if server.Suffrage == raft.Voter && server.ID != leader {
			left = append(left, server.ID)
		}
	}
	slices.SortFunc(left, func(a, b raft.ServerID) int { return strings.Compare(string(a), string(b)) })
	rank = slices.Index(left, serverID(m.config.Identity.MemberID))
	return rank, rank >= 0
}

// gone tells whether nothing listens at a member's address, as its machine itself says.
func (m *Member) gone(id raft.ServerID) bool {
	address, ok := m.addressOf(id)
	if !ok {
		return false
	}
	dialer := net.Dialer{Timeout: probeTimeout, Control: m.config.dialControl}
	conn, err := dialer.DialContext(m.life, "tcp", string(address))
	if err == nil {
		_ = conn.Close()
		return false
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// othersAgree tells whether a majority of the voters, this one included, agrees that the leader's process has ended. It
// does not wait for more than that: one that is down holds nobody up.
func (m *Member) othersAgree(leader raft.ServerID) bool {
	var asking sync.WaitGroup
	defer asking.Wait()
	ctx, cancel := context.WithTimeout(m.life, agreeTimeout)
	defer cancel()
	servers := m.servers()
	answers := make(chan bool, len(servers))
	asked := 0
	for _, server := range servers {
		if server.Suffrage == raft.Voter && server.ID != leader && server.ID != serverID(m.config.Identity.MemberID) {
			asked++
			asking.Go(func() { answers <- m.peers.leaderGone(ctx, server.ID, leader, m.config.Identity.MemberID) })
		}
	}
	missing := majority(m.voters()) - 1
	for ; asked > 0 && missing > 0; asked-- {
		if <-answers {
			missing--
		}
	}
	return missing <= 0
}

// agrees answers a candidate that says that the leader's process has ended.
func (m *Member) agrees(leader, candidate raft.ServerID) bool {
	_, known := m.raft.LeaderWithID()
	return (known == leader || known == "") && m.gone(leader) && m.agreement.give(candidate)
}

// leaderGone asks another voter for its agreement. One that doesn't answer doesn't agree.
func (p *peerConns) leaderGone(ctx context.Context, id, leader raft.ServerID, candidate uint64) bool {
	client, err := p.liveness(ctx, id)
	if err != nil {
		return false
	}
	response, err := client.LeaderGone(ctx, &peerpb.LeaderGoneRequest{Leader: memberID(leader), Candidate: candidate})
	return err == nil && response.Agreed
}

// agreement is the candidate that a member has agreed with of late, maybe itself.
type agreement struct {
	mu    sync.Mutex
	with  raft.ServerID
	until time.Time
}

// give agrees with a candidate, unless it was another one that had the agreement last, a moment ago.
func (a *agreement) give(candidate raft.ServerID) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	if a.with != candidate && now.Before(a.until) {
		return false
	}
	a.with, a.until = candidate, now.Add(agreementLife)
	return true
}

// takeBack ends the agreement with a candidate.
func (a *agreement) takeBack(candidate raft.ServerID) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.with == candidate {
		a.until = time.Time{}
	}
}
