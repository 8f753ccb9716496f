package raftstore

import "errors"

// Why a transfer of the lead, or a request that only the leader can answer, is refused. Nothing was changed then.
var (
	// ErrNotLeader is returned by requests that only the leader can answer.
	ErrNotLeader = errors.New("this member does not lead: ask the leader")
	// ErrBadTransferee is returned when leadership is to be given to a member that can't have it.
	ErrBadTransferee = errors.New("leadership can only be given to a member that votes")
	// ErrTransfereeHangs is returned when leadership is to be given to a member whose disk hangs.
	ErrTransfereeHangs = errors.New("the member's disk hangs, so that it can't lead: choose another member, or see to the disk")
	// ErrTransferTimeout is returned when the other member did not take the lead in time.
	ErrTransferTimeout = errors.New("the member did not take the lead in time")
)
