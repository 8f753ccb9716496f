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

// History makes all checks. budget bounds the search for an order of all operations; dir is where that is drawn if there is none.
func History(h *traffic.History, budget time.Duration, dir string) Result {
	var r Result
	t, found := newTimeline(h)
	r.Violations = append(r.Violations, found...)
	r.Events = len(t.events)
	for _, check := range []func(*traffic.History, *timeline) []Violation{
		realTime, memberOrder, state, writes, compactions, watchOrder, watchAtomic, watchReliable, watchResumable, watchBookmarks, watchPrevious, leases,
	} {
		r.Violations = append(r.Violations, check(h, t)...)
	}
	found, r.Undecided = linearizable(h, t, budget, dir)
	r.Violations = append(r.Violations, found...)
	return r
}
