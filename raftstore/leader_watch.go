package raftstore

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ctlplane/ctlplane/api/peerpb"
	"github.com/ctlplane/ctlplane/pki"
	"github.com/ctlplane/ctlplane/raftstore/membership"
	"github.com/ctlplane/ctlplane/raftstore/peers"
)

const (
	// probeTimeout bounds the question whether the leader's process is there, agreeTimeout that for the others' agreement.
	probeTimeout = 200 * time.Millisecond
	agreeTimeout = 500 * time.Millisecond
	// standStagger is between the followers' attempts, so that two don't split the votes. One that was told that another has
	// more of the log leaves it time.
	standStagger = 100 * time.Millisecond
	behindPause  = 500 * time.Millisecond
	// agreementLife is how long a member that has agreed with a candidate agrees with no other one.
	agreementLife = time.Second
)

// watchLeader starts an election as soon as the leader's process has certainly ended, instead of waiting for its
// heartbeats to be missed: a connection of Raft's broke, and nothing listens at the leader's address any more. A machine
// or network that is lost shows neither, and takes a heartbeat timeout. It does so as well where a majority has just started and
// knows no leader, as after a power failure.
//
//  1. What one member sees decides nothing: a firewall may reject its link alone. A majority of the voters has to find
//     that nothing listens there, or to know no leader, as it takes a majority to win the vote about an election that heartbeats
//     have caused.
//  2. A member agrees with one candidate at a time, itself included, so that two that notice it together don't split the
//     votes.
//  3. A member does not agree with a candidate that has less of the log than itself, whom it would not vote for: a lost
//     election lasts until the next heartbeat timeout.
//  4. Safety does not rest on any of it. It only asks Raft to begin an election, in the way that a leader does which hands
//     over; a log that is behind still loses it.
func (m *Member) watchLeader() {
	if m.voters() == 1 {
		m.campaignAlone()
	} else {
		ctx, cancel := context.WithTimeout(m.life, m.config.HeartbeatTimeout) // then heartbeats have begun an election
		m.replace(ctx, "", m.startPause())
		cancel()
	}
	for {
		select {
		case <-m.stream.BrokenConn():
		case <-m.life.Done():
			return
		}
		if _, leader := m.raft.LeaderWithID(); leader != "" {
			m.replace(m.life, leader, 0)
		}
	}
}

// startPause is how long a member that has started waits to be told of a leader: one that leads is heard of by then.
func (m *Member) startPause() time.Duration {
	return 3 * cmp.Or(m.config.HeartbeatInterval, m.config.HeartbeatTimeout/10)
}

// replace tries to replace a leader whose process has ended, or none, after a pause and until it is heard of again, there is
// another one, or none is known: then the heartbeat timeout has begun an election.
func (m *Member) replace(ctx context.Context, leader raft.ServerID, pause time.Duration) {
	rank, votes := m.rank(leader)
	if !votes || m.stalls() {
		return
	}
	self := membership.ServerID(m.config.Identity.MemberID)
	wait := pause + time.Duration(rank)*standStagger
	for attempt := 0; ; attempt++ {
		changed, looked := m.changed.Next(), time.Now()
		if _, now := m.raft.LeaderWithID(); now != leader {
			return
		}
		select {
		case <-time.After(wait):
		case <-changed:
			continue
		case <-ctx.Done():
			return
		}
		wait = time.Duration(rank+1) * standStagger
		if attempt > 0 && m.raft.LastContact().After(looked) {
			return
		}
		if !m.gone(leader) || !m.agreement.give(self) {
			continue
		}
		agreed, behind := m.othersAgree(leader)
		if agreed {
			m.logger.Info("there is no leader, or its process has ended, and a majority agrees; standing for election", "leader", m.nameOf(leader))
			m.campaign()
			return
		}
		if behind {
			wait = behindPause
		}
		m.agreement.takeBack(self)
	}
}

// campaignAlone begins the election that the only voter of a group wins, with nobody to wait for.
func (m *Member) campaignAlone() {
	if _, votes := m.rank(""); votes {
		m.campaign()
	}
}

// campaign begins an election now. When it can't, the heartbeat timeout does.
func (m *Member) campaign() {
	if err := m.startElectionAt(membership.ServerID(m.config.Identity.MemberID), m.transport.LocalAddr()); err != nil {
		m.logger.Debug("the election waits for the heartbeat timeout", "error", err)
	}
}

// startElectionAt has a voter start an election now, and the others vote although they have a leader.
func (m *Member) startElectionAt(id raft.ServerID, address raft.ServerAddress) error {
	return m.transport.TimeoutNow(id, address,
		&raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}}, &raft.TimeoutNowResponse{})
}

// rank is this member's position among the voters that are left without a leader, the same order on each.
func (m *Member) rank(leader raft.ServerID) (rank int, votes bool) {
	var left []raft.ServerID
	for _, server := range m.servers() {
		if server.Suffrage == raft.Voter && server.ID != leader {
			left = append(left, server.ID)
		}
	}
	slices.SortFunc(left, func(a, b raft.ServerID) int { return strings.Compare(string(a), string(b)) })
	rank = slices.Index(left, membership.ServerID(m.config.Identity.MemberID))
	return rank, rank >= 0
}

// gone tells whether nothing listens at a leader's address, as its machine itself says, or there is no leader.
func (m *Member) gone(id raft.ServerID) bool {
	if id == "" {
		return true
	}
	address, ok := m.addressOf(id)
	if !ok {
		return false
	}
	network, at := pki.PeerNetwork(string(address))
	dialer := peers.Dialer(network, m.config.CallFrom, m.config.dialControl)
	dialer.Timeout = probeTimeout
	conn, err := dialer.DialContext(m.life, network, at)
	if err == nil {
		_ = conn.Close()
		return false
	}
	return errors.Is(err, syscall.ECONNREFUSED) || network == "unix" && errors.Is(err, fs.ErrNotExist)
}

// othersAgree tells whether a majority of the voters, this one included, agrees that the leader's process has ended, and
// whether one of them is ahead of this one. It does not wait for more than a majority: one that is down holds nobody up.
func (m *Member) othersAgree(leader raft.ServerID) (agreed, behind bool) {
	var asking sync.WaitGroup
	defer asking.Wait()
	ctx, cancel := context.WithTimeout(m.life, agreeTimeout)
	defer cancel()
	servers := m.servers()
	answers := make(chan *peerpb.LeaderGoneResponse, len(servers))
	request := &peerpb.LeaderGoneRequest{Leader: membership.MemberID(leader), Candidate: m.config.Identity.MemberID, LastIndex: m.raft.LastIndex()}
	asked := 0
	for _, server := range servers {
		if server.Suffrage == raft.Voter && server.ID != leader && server.ID != membership.ServerID(m.config.Identity.MemberID) {
			asked++
			asking.Go(func() { answers <- m.peers.LeaderGone(ctx, server.ID, request) })
		}
	}
	missing := membership.Majority(m.voters()) - 1
	for ; asked > 0 && missing > 0; asked-- {
		answer := <-answers
		if answer.GetAgreed() {
			missing--
		}
		behind = behind || answer.GetAhead()
	}
	return missing <= 0, behind
}

// agree answers a candidate that says that the leader's process has ended, or that there is none.
func (m *Member) agree(r *peerpb.LeaderGoneRequest) *peerpb.LeaderGoneResponse {
	var leader raft.ServerID
	if r.Leader != 0 {
		leader = membership.ServerID(r.Leader)
	}
	_, known := m.raft.LeaderWithID()
	if known != leader && known != "" || !m.gone(leader) {
		return &peerpb.LeaderGoneResponse{}
	}
	if !m.stalls() && m.raft.LastIndex() > r.LastIndex {
		return &peerpb.LeaderGoneResponse{Ahead: true}
	}
	return &peerpb.LeaderGoneResponse{Agreed: m.agreement.give(membership.ServerID(r.Candidate))}
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
