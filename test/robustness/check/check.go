// Package check holds what clients saw of a store against what the store promises.
package check

import (
	"fmt"
	"time"

	"github.com/ctlplane/ctlplane/test/robustness/traffic"
)

// Violation is a promise that was broken.
type Violation struct {
	// Check is the promise's name.
	Check string
	Text  string
	// Ops are the operations that can't all be right.
	Ops []*traffic.Op
}

func (v Violation) String() string {
	text := v.Check + ": " + v.Text
	for _, o := range v.Ops {
		text += "\n      " + o.String()
	}
	return text
}

// maxViolations bounds what one check reports: what is broken is often broken many times.
const maxViolations = 5

// violations are those of one check.
type violations struct {
	check string
	found []Violation
	total int
}

func (v *violations) add(ops []*traffic.Op, format string, args ...any) {
	if v.total++; v.total <= maxViolations {
		v.found = append(v.found, Violation{v.check, fmt.Sprintf(format, args...), ops})
	}
}

// Result is what all checks of a history found.
type Result struct {
	Violations []Violation
	// Undecided is why a check came to no end in its time; empty: all did.
	Undecided string
	// Events is how many events the watches saw, each counted once.
	Events int
}

// Options are those of the checks.
type Options struct {
	// Budget bounds the search for an order of all operations.
	Budget time.Duration
	// Dir is where the operations are drawn that have no order.
	Dir string
	// UnprovenRenewals tells that the store renews leases without a proof that its leader still leads, as etcd does. A renewal
	// then promises nothing: another leader may have revoked the lease, or may be about to.
	UnprovenRenewals bool
}

// History makes all checks.
func History(h *traffic.History, o Options) Result {
	var r Result
	t, found := newTimeline(h)
	r.Violations = append(r.Violations, found...)
	r.Events = len(t.events)
	for _, check := range []func(*traffic.History, *timeline) []Violation{
		realTime, memberOrder, state, writes, compactions, watchOrder, watchAtomic, watchReliable, watchResumable, watchBookmarks, watchPrevious,
	} {
		r.Violations = append(r.Violations, check(h, t)...)
	}
	r.Violations = append(r.Violations, leases(h, t, o.UnprovenRenewals)...)
	found, r.Undecided = linearizable(h, t, o.Budget, o.Dir)
	r.Violations = append(r.Violations, found...)
	return r
}
