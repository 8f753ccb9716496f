package raftstore

import (
	"errors"

	"github.com/ctlplane/ctlplane/raftstore/failure"
)

// What a request ends with. But for ErrOutcomeUnknown and ErrClosed, nothing was changed.
var (
	ErrNoLeader        = failure.ErrNoLeader
	ErrOutcomeUnknown  = failure.ErrOutcomeUnknown
	ErrTooManyRequests = failure.ErrTooManyRequests
	ErrTooLarge        = failure.ErrTooLarge // than Config.MaxCommandBytes
	ErrClosed          = failure.ErrClosed   // the member is
)

// Why a change of the members is refused. Nothing was changed then.
var (
	ErrUnsafe           = failure.ErrUnsafe
	ErrPeerURLExists    = failure.ErrPeerURLExists
	ErrBadPeerURLs      = failure.ErrBadPeerURLs
	ErrNotEnoughStarted = failure.ErrNotEnoughStarted
	ErrNotLearner       = failure.ErrNotLearner
	ErrLearnerNotReady  = failure.ErrLearnerNotReady
	ErrTooManyLearners  = failure.ErrTooManyLearners // Config.MaxLearners
)

var (
	// ErrInUse is returned by Open when another process has the data directory open.
	ErrInUse = errors.New("the data directory is in use by another process: stop that one, or choose another --data-dir")
	// ErrOtherCluster is returned when the data directory belongs to another cluster or member.
	ErrOtherCluster = errors.New("the data directory belongs to another cluster or member: choose another --data-dir")
	// ErrRemoved is why a member ends that was removed from its group, and is returned by Open where the data directory
	// says so.
	ErrRemoved = errors.New("this member was removed from the cluster: delete its data directory and join again, as a new member")

	// ErrBehind is returned for a read of a member's own state that has not got what the member has answered before.
	ErrBehind = errors.New("this member has not caught up with a write that it has answered: it may be cut off from the others; try again, or ask another member")

	// ErrCorrupt is why a member fails whose history differs from the others'.
	ErrCorrupt = errors.New("the history in the data directory differs from that of the other members")
)

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
