package raftstore

import "errors"

// Why a change of the members is refused. Nothing was changed then.
var (
	// ErrPeerURLExists is returned for a peer URL that another member has.
	ErrPeerURLExists = errors.New("a member with this peer URL exists: 'ctlplane member list' shows it")
	// ErrBadPeerURLs is returned for peer URLs that are no http://host:port or https://host:port.
	ErrBadPeerURLs = errors.New("peer URLs must be like https://10.0.0.1:2380")
	// ErrNotEnoughStarted is returned for a change after which members that were never started could make up half of the
	// voters.
	ErrNotEnoughStarted = errors.New("too few members are started: start those that were added, or remove them")
	// ErrNotLearner is returned for the promotion of a member that votes already.
	ErrNotLearner = errors.New("the member is no learner")
	// ErrLearnerNotReady is returned for the promotion of a learner that is behind, or does not run.
	ErrLearnerNotReady = errors.New("the learner has not caught up with the leader: try again later")
	// ErrTooManyLearners is returned when there are Config.MaxLearners already.
	ErrTooManyLearners = errors.New("there are learners enough: promote or remove one first")
	// ErrNotLeader is returned by requests that only the leader can answer.
	ErrNotLeader = errors.New("this member does not lead: ask the leader")
	// ErrBadTransferee is returned when leadership is to be given to a member that can't have it.
	ErrBadTransferee = errors.New("leadership can only be given to a member that votes")
	// ErrTransfereeHangs is returned when leadership is to be given to a member whose disk hangs.
	ErrTransfereeHangs = errors.New("the member's disk hangs, so that it can't lead: choose another member, or see to the disk")
	// ErrTransferTimeout is returned when the other member did not take the lead in time.
	ErrTransferTimeout = errors.New("the member did not take the lead in time")
)

// membershipErrors keep their identity on the way between members.
var membershipErrors = []error{
	ErrPeerURLExists, ErrBadPeerURLs, ErrNotEnoughStarted, ErrNotLearner, ErrLearnerNotReady, ErrTooManyLearners,
}
