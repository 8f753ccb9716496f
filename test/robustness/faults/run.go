package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/ctlplane/ctlplane/test/robustness/members"
)

// Run is a plan that is carried out.
type Run struct {
	cluster *members.Cluster
	admin   *clientv3.Client
	begun   time.Time

	mu     sync.Mutex
	random *rand.Rand
	busy   map[*members.Member]bool // something is done to its process
	log    []string
	counts map[string]int
	failed []error
}

// Carry carries a plan out, and returns when all of it has ended and is in order again.
func Carry(ctx context.Context, plan Plan, cluster *members.Cluster, admin *clientv3.Client, random *rand.Rand) *Run {
	r := &Run{
		cluster: cluster, admin: admin, begun: time.Now(), random: random, busy: map[*members.Member]bool{}, counts: map[string]int{},
	}
	var steps sync.WaitGroup
	for _, s := range plan.Steps {
		steps.Go(func() {
			select {
			case <-time.After(s.At):
				r.step(ctx, s)
			case <-ctx.Done():
			}
		})
	}
	steps.Wait()
	select {
	case <-time.After(plan.Length - time.Since(r.begun)):
	case <-ctx.Done():
	}
	return r
}

// Log notes what was done.
func (r *Run) Log(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, fmt.Sprintf("%9.4f s: ", time.Since(r.begun).Seconds())+fmt.Sprintf(format, args...))
}

// Schedule is what was done, and when.
func (r *Run) Schedule() []string { return r.log }

// Counts are how many faults of each kind were made.
func (r *Run) Counts() map[string]int { return r.counts }

// Failed are the failures of the cluster, or of the harness, that faults met.
func (r *Run) Failed() []error { return r.failed }

// Begun is when the plan began.
func (r *Run) Begun() time.Time { return r.begun }

func (r *Run) step(ctx context.Context, s Step) {
	ctx, cancel := context.WithTimeout(ctx, s.For)
	defer cancel()
	kind := all[s.Kind]
	var each sync.WaitGroup
	for _, m := range r.find(ctx, s.On) {
		if kind.process && !r.take(m) {
			r.Log("no %s of %s: it is disturbed already", s.Kind, m.Name)
			continue
		}
		each.Go(func() {
			r.Log("%s of %s (%s) begins", s.Kind, m.Name, s.On)
			if err := kind.do(ctx, r, m); err != nil {
				r.fail(fmt.Errorf("%s of %s: %w", s.Kind, m.Name, err))
			}
			r.Log("%s of %s has ended", s.Kind, m.Name)
			r.mu.Lock()
			defer r.mu.Unlock()
			r.counts[s.Kind]++
			if kind.process {
				r.busy[m] = false
			}
		})
	}
	each.Wait()
}

func (r *Run) fail(err error) {
	r.Log("%v", err)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = append(r.failed, err)
}

func (r *Run) take(m *members.Member) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.busy[m] {
		return false
	}
	r.busy[m] = true
	return true
}

// find returns the members that a target means. Where there is no leader, any will do.
func (r *Run) find(ctx context.Context, on Target) []*members.Member {
	if on == All {
		return r.cluster.Members
	}
	chosen := r.cluster.Members[r.number(len(r.cluster.Members))]
	if on == Any {
		return []*members.Member{chosen}
	}
	leader := r.cluster.Leader(ctx)
	switch {
	case leader == nil:
	case on == Leader:
		chosen = leader
	case chosen == leader:
		chosen = r.other(leader)
	}
	return []*members.Member{chosen}
}

// other is another member.
func (r *Run) other(m *members.Member) *members.Member {
	n := len(r.cluster.Members)
	return r.cluster.Members[(m.Number+1+r.number(n-1))%n]
}

func (r *Run) number(n int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.random.IntN(n)
}

func (r *Run) duration(most time.Duration) time.Duration { return time.Duration(r.number(int(most))) }
