package raftstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/ctlplane/ctlplane/raftstore/disk"
	"github.com/ctlplane/ctlplane/raftstore/membership"
)

// formingPause is between two looks whether the cluster is formed.
const formingPause = 20 * time.Millisecond

// How a cluster of several masters forms:
//
//  1. The first master of the list makes a group of itself alone; the others join it as learners and get their votes one after
//     another. Meanwhile an entry is committed by fewer disks than the list promises, and the loss of the first master could leave a
//     group that elects nobody.
//  2. So clients are not served before: by the first master until a majority of the list votes, by the others until they vote
//     themselves. A master that is ready is one whose vote counts.
//  3. Each notes on its disk that it waits, so that a restart does not end that, and that it need not wait again: once formed, a
//     cluster stays so, however many members are removed. A restart with another list waits for that list; ForceNewCluster waits for
//     nobody.

// errUnsettled is returned while nothing is missing, and that is not committed yet.
var errUnsettled = errors.New("the cluster is forming: its masters have yet to agree on who votes")

// forming is what a member waits for.
type forming struct {
	member *Member
	voters int  // that have to be there
	vote   bool // whether this member has to be one of them
	done   atomic.Bool
}

// newForming tells what a member waits for that was started with a list of masters.
func newForming(member *Member) *forming {
	identity := member.config.Identity
	f := &forming{member: member, voters: 1, vote: !identity.Creator}
	if identity.Creator {
		f.voters = membership.Majority(identity.Founders)
	}
	f.done.Store(identity.Founders == 0)
	return f
}

// Forming says what is missing before clients may be served, nil if nothing is. It is safe for concurrent use.
func (c *Cluster) Forming() error {
	if c.forming.done.Load() {
		return nil
	}
	return cmp.Or(c.forming.missing(), errUnsettled)
}

func (f *forming) missing() error {
	voters := f.member.voterServers()
	if len(voters) < f.voters {
		return fmt.Errorf("the cluster is forming: %d of its masters vote, and %d have to before clients are served; are the others started?", len(voters), f.voters)
	}
	id := f.member.config.Identity.MemberID
	if _, votes := membership.Find(voters, membership.ServerID(id)); votes || !f.vote {
		return nil
	}
	if record, known := f.member.record(id); known && record.IsLearner {
		return nil // it was added as one, and remains one
	}
	return errors.New("this member has joined the cluster, and does not vote yet")
}

// WaitFormed waits until clients may be served. It logs now and then what is missing. It is called once. Errors: ctx's cause, or
// one of the disk.
func (c *Cluster) WaitFormed(ctx context.Context) error {
	f := c.forming
	if f.done.Load() {
		return nil
	}
	ticker := time.NewTicker(formingPause)
	defer ticker.Stop()
	reported := time.Now() // not at once: the others may be just as fast
	var last uint64        // of the log, when nothing was missing; 0: something is, or that log was given up for a shorter one
	for {
		missing := f.missing()
		switch {
		case missing != nil || f.member.raft.LastIndex() < last:
			last = 0
		case last == 0:
			last = f.member.raft.LastIndex()
		}
		// What was seen is settled once it is committed: a vote that was only offered may still be lost.
		if last > 0 && f.member.raft.AppliedIndex() >= last {
			break
		}
		if time.Since(reported) >= progressInterval {
			reported = time.Now()
			f.member.logger.Info("clients are not served yet", "why", c.Forming())
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	switch err := f.member.noteIdentity(func(identity *Identity) { identity.Founders = 0 }); {
	case disk.IsFull(err): // clients are who can make room
		f.member.logger.Warn("that the cluster is formed was not noted, and is waited for once more at the next start", "error", err)
	case err != nil:
		return err
	}
	f.done.Store(true)
	return nil
}
