package peers

import (
	"errors"
	"net"

	"github.com/hashicorp/raft"
)

// ConnsPerMember is how many connections to a member Raft's transport keeps for requests.
const ConnsPerMember = 4

// RequestVote asks another member for its vote. A vote is too dear for a connection that broke while nobody used it: without it
// the election is lost, and the next one waits for an election timeout.
//
// A member whose disk refuses its log does not ask: it would win by entries that it has not written, and fail to write the next.
// Nor does one whose disk hangs, which would have a request wait for it with every election.
func (t *Transport) RequestVote(id raft.ServerID, target raft.ServerAddress, request *raft.RequestVoteRequest, response *raft.RequestVoteResponse) error {
	if err := t.mayStand(); err != nil {
		return err
	}
	return t.ended(id, overWorkingConn(func() error { return t.Network.RequestVote(id, target, request, response) }))
}

// RequestPreVote asks another member whether it would vote for this one.
func (t *Transport) RequestPreVote(id raft.ServerID, target raft.ServerAddress, request *raft.RequestPreVoteRequest, response *raft.RequestPreVoteResponse) error {
	if err := t.mayStand(); err != nil {
		return err
	}
	return t.ended(id, overWorkingConn(func() error { return t.Network.RequestPreVote(id, target, request, response) }))
}

func (t *Transport) mayStand() error {
	if t.options.Hangs != nil && t.options.Hangs() {
		return errHangs
	}
	return t.options.Log.Settle()
}

var errHangs = errors.New("the disk hangs; this member asks for no votes")

// overWorkingConn repeats a request that may be made twice while it may have met a connection that was broken before: there are
// ConnsPerMember, each of which is thrown away by the request that finds out, and then one is dialled.
func overWorkingConn(request func() error) (err error) {
	for range ConnsPerMember + 1 {
		if err = request(); err == nil || dialFailed(err) || isTimeout(err) {
			return err
		}
	}
	return err
}

func dialFailed(err error) bool {
	var failed *net.OpError
	return errors.As(err, &failed) && failed.Op == "dial"
}

func isTimeout(err error) bool {
	var failed net.Error
	return errors.As(err, &failed) && failed.Timeout()
}
