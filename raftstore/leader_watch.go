package raftstore

import (
	"errors"
	"net"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/raft"
)

const (
	// probeTimeout bounds the question whether the leader's process is there.
	probeTimeout = 200 * time.Millisecond
	// standStagger is between the followers' attempts, so that two don't split the votes.
	standStagger = 100 * time.Millisecond
)

// watchLeader stands for election as soon as the leader's process has certainly ended, instead of waiting
// for its heartbeats to be missed: a connection of Raft's broke, and nothing listens at the leader's address
// any more. A machine or network that is lost shows neither, and takes a heartbeat timeout.
//
// Safety does not rest on it. It only asks Raft to begin the election that is due in any case, in the way
// that a leader does which hands over; a log that is behind still loses it.
func (m *Member) watchLeader() {
	m.standAlone()
	for {
		select {
		case <-m.stream.broken:
		case <-m.life.Done():
			return
		}
		changed := m.changed.next()
		_, leader := m.raft.LeaderWithID()
		rank, votes := m.rank(leader)
		if leader == "" || !votes || !m.gone(leader) {
			continue
		}
		select {
		case <-time.After(time.Duration(rank) * standStagger):
		case <-changed:
			continue
		case <-m.life.Done():
			return
		}
		if _, now := m.raft.LeaderWithID(); now == leader && m.gone(leader) {
			m.logger.Info("the leader's process has ended; standing for election", "leader", m.nameOf(leader))
			m.stand()
		}
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
	err := m.transport.TimeoutNow(serverID(m.config.Identity.MemberID), m.transport.LocalAddr(),
		&raft.TimeoutNowRequest{RPCHeader: raft.RPCHeader{ProtocolVersion: raft.ProtocolVersionMax}}, &raft.TimeoutNowResponse{})
	if err != nil {
		m.logger.Debug("the election waits for the heartbeat timeout", "error", err)
	}
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
	conn, err := net.DialTimeout("tcp", string(address), probeTimeout)
	if err == nil {
		_ = conn.Close()
		return false
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}
