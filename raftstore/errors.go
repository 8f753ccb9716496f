package raftstore

import (
	"errors"
	"fmt"
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
	// ErrTooLarge is returned for a command that is larger than Config.MaxCommandBytes.
	ErrTooLarge = errors.New("the request is too large")
	// ErrInUse is returned by Open when another process has the data directory open.
	ErrInUse = errors.New("the data directory is in use by another process: stop that one, or choose another --data-dir")
	// ErrOtherCluster is returned when the data directory belongs to another cluster or member.
	ErrOtherCluster = errors.New("the data directory belongs to another cluster or member: choose another --data-dir")
	// ErrRemoved is why a member ends that was removed from its group, and is returned by Open where the data directory
	// says so.
	ErrRemoved = errors.New("this member was removed from the cluster: delete its data directory and join again, as a new member")
	// ErrUnsafe is returned for a change of members that would endanger the group's majority.
	ErrUnsafe = errors.New("the change would leave the group without a working majority: bring the other members back first")

	// ErrBehind is returned for a read of a member's own state that has not got what the member has answered before.
	ErrBehind = errors.New("this member has not caught up with a write that it has answered: it may be cut off from the others; try again, or ask another member")

	// ErrCorrupt is why a member fails whose history differs from the others'.
	ErrCorrupt = errors.New("the history in the data directory differs from that of the other members")

	// errNotLeader is returned inside the package for a command that was not proposed since this member
	// doesn't lead. It is safe to propose it again.
	errNotLeader = errors.New("this member does not lead")
	// errUnreachable is returned for a member that no connection could be made to. Nothing was sent.
	errUnreachable = errors.New("the member can't be reached")
)

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// begun is the error of a change whose first step was made when a later one failed: whatever that says of itself, something was
// changed.
func begun(err error) error {
	if err == nil || errors.Is(err, ErrOutcomeUnknown) {
		return err
	}
	return fmt.Errorf("%w (%v)", ErrOutcomeUnknown, err)
}
