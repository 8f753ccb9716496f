// Package failure has the errors that a request to a group ends with, and carries them from member to member.
//
// Each says what is known of the change that was asked for: that it was not made, or (ErrOutcomeUnknown) that nobody knows. What
// may have been made is never said to have failed. Everything here is safe for concurrent use.
package failure

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"
)

var (
	// ErrNoLeader is returned when no leader was known for as long as the request could wait. Nothing
	// was changed.
	ErrNoLeader = errors.New("the group has no leader: a majority of its members must be running and reach each other")
	// ErrOutcomeUnknown is returned when leadership was lost, or the leader, after a command was
	// proposed. It may have taken effect, or may yet.
	ErrOutcomeUnknown = errors.New("the leader was lost before the outcome was known: the change may have been made; read before trying again")
	// ErrTooManyRequests is returned when too much is waiting to be proposed. Nothing was changed.
	ErrTooManyRequests = errors.New("too many requests are waiting: try again later, with fewer at once")
	// ErrClosed is returned by a member that was closed.
	ErrClosed = errors.New("the member is closed")
	// ErrTooLarge is returned for a command that is larger than the leader takes.
	ErrTooLarge = errors.New("the request is too large")
	// ErrUnsafe is returned for a change of members that would endanger the group's majority.
	ErrUnsafe = errors.New("the change would leave the group without a working majority: bring the other members back first")

	// ErrNotLeading is for whoever asks the leader in a member's stead: that member doesn't lead, and did not propose anything. It
	// is safe to ask again.
	ErrNotLeading = errors.New("this member does not lead")
	// ErrUnreachable is returned for a member that no connection could be made to. Nothing was sent.
	ErrUnreachable = errors.New("the member can't be reached")
)

// Why a change of the members is refused. Nothing was changed then.
var (
	// ErrPeerURLExists is returned for a peer URL that another member has.
	ErrPeerURLExists = errors.New("a member with this peer URL exists: 'ctlplane member list' shows it")
	// ErrBadPeerURLs is returned for peer URLs that are neither http(s)://host:port nor the path of a socket after unix(s)://.
	ErrBadPeerURLs = errors.New("peer URLs must be like https://10.0.0.1:2380 or unix:///run/m1.peer")
	// ErrNotEnoughStarted is returned for a change after which members that were never started could make up half of the
	// voters.
	ErrNotEnoughStarted = errors.New("too few members are started: start those that were added, or remove them")
	// ErrNotLearner is returned for the promotion of a member that votes already.
	ErrNotLearner = errors.New("the member is no learner")
	// ErrLearnerNotReady is returned for the promotion of a learner that is behind, or does not run.
	ErrLearnerNotReady = errors.New("the learner has not caught up with the leader: try again later")
	// ErrTooManyLearners is returned when there are as many as there may be.
	ErrTooManyLearners = errors.New("there are learners enough: promote or remove one first")
)

// membershipErrors keep their identity on the way between members.
var membershipErrors = []error{
	ErrPeerURLExists, ErrBadPeerURLs, ErrNotEnoughStarted, ErrNotLearner, ErrLearnerNotReady, ErrTooManyLearners,
}

// OfRaft tells which refusals of Raft mean that nothing was changed. Others may come after the change went into the log.
func OfRaft(err error) error {
	switch {
	case errors.Is(err, raft.ErrNotLeader), errors.Is(err, raft.ErrLeadershipTransferInProgress), errors.Is(err, raft.ErrEnqueueTimeout):
		return ErrNotLeading
	}
	return fmt.Errorf("%w (change the group's members: %w)", ErrOutcomeUnknown, err)
}

// Begun is the error of a change whose first step was made when a later one failed: whatever that says of itself, something was
// changed.
func Begun(err error) error {
	if err == nil || errors.Is(err, ErrOutcomeUnknown) {
		return err
	}
	return fmt.Errorf("%w (%v)", ErrOutcomeUnknown, err)
}
