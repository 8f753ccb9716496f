// Package robustness disturbs a cluster of real processes while clients use it in all ways at once, and holds what the clients
// saw against what the store promises.
package robustness

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/ctlplane/ctlplane/test/robustness/check"
	"github.com/ctlplane/ctlplane/test/robustness/faults"
	"github.com/ctlplane/ctlplane/test/robustness/members"
	"github.com/ctlplane/ctlplane/test/robustness/traffic"
)

const (
	// recovery is how long a cluster has to serve again after the last fault.
	recovery = time.Minute
	// searching bounds the search for an order of all operations.
	searching = 2 * time.Minute
	// expiring is how long leases have to end that nobody keeps.
	expiring = 40 * time.Second
	poll     = 20 * time.Millisecond
)

// Round is some seconds of traffic and faults, and what was found.
type Round struct {
	Number  int
	Seed    uint64
	Plan    faults.Plan
	Faults  *faults.Run
	History *traffic.History
	Result  check.Result
	// Failures are what went wrong beside what clients saw: a member that ended, a cluster that did not come back.
	Failures []error
}

// Failed tells whether anything was found.
func (r *Round) Failed() bool {
	return len(r.Failures) > 0 || len(r.Result.Violations) > 0 || r.Result.Undecided != ""
}

// settings are those of a round.
type settings struct {
	cluster *members.Cluster
	admin   *clientv3.Client
	length  time.Duration
	many    int
	dir     string // where pictures go
	etcd    bool   // the members are etcd's
}

// run makes a round.
func (r *Round) run(ctx context.Context, s settings) {
	fail := func(format string, args ...any) { r.Failures = append(r.Failures, fmt.Errorf(format, args...)) }
	random := rand.New(rand.NewPCG(r.Seed, 2))
	start, err := serving(ctx, s)
	if err != nil {
		fail("before the round: %w", err)
		return
	}
	var targets []traffic.Target
	for _, m := range s.cluster.Members {
		targets = append(targets, traffic.Target{Number: m.Number, Address: m.Client, Life: m.Life})
	}
	t, err := traffic.Start(traffic.Config{
		Targets: targets, Prefix: fmt.Sprintf("r%d/", r.Number), Seed: r.Seed, Many: s.many, Connect: members.NewClient,
	}, start)
	if err != nil {
		fail("begin the traffic: %w", err)
		return
	}
	r.Faults = faults.Carry(ctx, r.Plan, s.cluster, s.admin, random)
	r.Failures = append(r.Failures, r.Faults.Failed()...)
	t.Stop()
	for _, m := range s.cluster.Members {
		if m.Ended() {
			fail("%s has ended by itself: its last words are in %s", m.Name, m.Log())
		}
	}
	last := int64(0)
	if _, err := serving(ctx, s); err != nil {
		fail("after the faults: %w", err)
	} else {
		expired := t.AwaitExpiry(ctx, s.admin, expiring)
		t.ReadAll(ctx)
		if last, err = t.Mark(ctx, s.admin); err != nil {
			fail("the last write: %w", err)
		}
		if expired != nil {
			fail("%w", expired)
		}
	}
	if r.History, err = t.Finish(last, recovery); err != nil {
		fail("%w", err)
	}
	if last > 0 {
		if err := equalHashes(ctx, s.cluster, last); err != nil {
			fail("%w", err)
		}
		r.Result = check.History(r.History, check.Options{Budget: searching, Dir: s.dir, UnprovenRenewals: s.etcd})
	}
}

// serving waits until all members answer and agree on a leader, and returns a revision that the store has.
func serving(ctx context.Context, s settings) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, recovery)
	defer cancel()
	for {
		revision, err := serves(ctx, s)
		if err == nil {
			return revision, nil
		}
		select {
		case <-time.After(poll):
		case <-ctx.Done():
			return 0, fmt.Errorf("not all members served within %v: %w", recovery, err)
		}
	}
}

func serves(ctx context.Context, s settings) (revision int64, err error) {
	leader := s.cluster.Leader(ctx)
	if leader == nil {
		return 0, errors.New("there is no leader that all agree on")
	}
	for _, m := range s.cluster.Members {
		answer, err := m.Get(ctx, "serves")
		if err != nil {
			return 0, fmt.Errorf("%s: %w", m.Name, err)
		}
		revision = max(revision, answer.Header.Revision)
	}
	return revision, nil
}

// equalHashes compares what all members hold at a revision.
func equalHashes(ctx context.Context, c *members.Cluster, revision int64) error {
	ctx, cancel := context.WithTimeout(ctx, recovery)
	defer cancel()
	var hashes []uint32
	text := ""
	for _, m := range c.Members {
		answer, err := m.Hash(ctx, revision)
		if err != nil {
			return fmt.Errorf("the hash of %s at revision %d: %w", m.Name, revision, err)
		}
		hashes = append(hashes, answer.Hash)
		text += fmt.Sprintf(" %s has %x (compacted at %d)", m.Name, answer.Hash, answer.CompactRevision)
	}
	for _, hash := range hashes {
		if hash != hashes[0] {
			return fmt.Errorf("the members differ at revision %d:%s", revision, text)
		}
	}
	return nil
}
