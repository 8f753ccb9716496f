package peers

import (
	"io"
	"net"
	"syscall"
	"testing"

	"github.com/hashicorp/raft"
)

// staleConns is a network that keeps so many broken connections to a member.
type staleConns struct {
	Network
	broken int
	down   bool
	asked  int
}

func (s *staleConns) RequestVote(raft.ServerID, raft.ServerAddress, *raft.RequestVoteRequest, *raft.RequestVoteResponse) error {
	s.asked++
	switch {
	case s.broken > 0:
		s.broken--
		return io.EOF
	case s.down:
		return &net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}
	}
	return nil
}

func (s *staleConns) RequestPreVote(raft.ServerID, raft.ServerAddress, *raft.RequestPreVoteRequest, *raft.RequestPreVoteResponse) error {
	return s.RequestVote("", "", nil, nil)
}

// TestVoteIsAskedForOverAConnectionThatWorks: the member that is asked was started again since, and the connections that are kept
// are broken. The vote was lost with each of them, and an election with it.
func TestVoteIsAskedForOverAConnectionThatWorks(t *testing.T) {
	for _, down := range []bool{false, true} {
		for broken := range ConnsPerMember + 1 {
			network := &staleConns{broken: broken, down: down}
			candidate := NewTransport(TransportOptions{Network: network, Log: durableAtOnce{}})
			if err := candidate.RequestVote("m", "", nil, nil); (err != nil) != down || network.asked != broken+1 {
				t.Errorf("%d broken connections, down %v: %v after %d requests", broken, down, err, network.asked)
			}
			network.broken, network.asked = broken, 0
			if err := candidate.RequestPreVote("m", "", nil, nil); (err != nil) != down || network.asked != broken+1 {
				t.Errorf("%d broken connections, down %v, before a vote: %v after %d requests", broken, down, err, network.asked)
			}
		}
	}
	network := &staleConns{broken: 100}
	if err := NewTransport(TransportOptions{Network: network, Log: durableAtOnce{}}).RequestVote("m", "", nil, nil); err == nil || network.asked > 10 {
		t.Errorf("a member that ends every connection: %v after %d requests", err, network.asked)
	}
}

// TestMemberWhoseDiskHangsAsksForNoVotes: each request waited for the disk, and one more with every election timeout.
func TestMemberWhoseDiskHangsAsksForNoVotes(t *testing.T) {
	network := &staleConns{}
	candidate := NewTransport(TransportOptions{Network: network, Log: hangingLog{}, Hangs: func() bool { return true }})
	for what, err := range map[string]error{
		"a vote":          candidate.RequestVote("m", "", nil, nil),
		"before the vote": candidate.RequestPreVote("m", "", nil, nil),
	} {
		if err == nil || network.asked > 0 {
			t.Errorf("%s: %v after %d requests", what, err, network.asked)
		}
	}
}

// hangingLog stands in for a log whose disk takes nothing and refuses nothing.
type hangingLog struct{ durableAtOnce }

func (hangingLog) Settle() error { select {} }
