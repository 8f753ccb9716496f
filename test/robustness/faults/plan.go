// Package faults disturbs a cluster: by random plans and by named scenarios, several faults at once.
package faults

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// Target says which members a fault is for; it is found out when the fault begins.
type Target string

// The targets.
const (
	Leader   Target = "leader"
	Follower Target = "follower"
	Any      Target = "any"
	All      Target = "all"
)

// Step is a fault of a plan.
type Step struct {
	At   time.Duration // since the plan's begin
	Kind string
	On   Target
	For  time.Duration
}

func (s Step) String() string {
	return fmt.Sprintf("at %v: %s of %s for %v", s.At.Round(time.Millisecond), s.Kind, s.On, s.For.Round(time.Millisecond))
}

// Plan is what is to be disturbed, and when.
type Plan struct {
	Name   string
	Length time.Duration
	Steps  []Step
}

func (p Plan) String() string {
	lines := []string{p.Name}
	for _, s := range p.Steps {
		lines = append(lines, "  "+s.String())
	}
	return strings.Join(lines, "\n")
}

// Random makes a plan of a length out of kinds, in which about two faults go on at a time.
func Random(random *rand.Rand, length time.Duration, kinds []string) Plan {
	p := Plan{Name: "random", Length: length}
	const between = 1500 * time.Millisecond
	for at := time.Second; at < length; at += time.Duration(random.ExpFloat64() * float64(between)) {
		kind := kinds[random.IntN(len(kinds))]
		bounds := all[kind]
		s := Step{At: at, Kind: kind, On: bounds.targets[random.IntN(len(bounds.targets))]}
		s.For = min(bounds.shortest+time.Duration(random.Int64N(int64(bounds.longest-bounds.shortest))), length-at)
		p.Steps = append(p.Steps, s)
	}
	return p
}

// every makes steps of one kind, as many as fit: each begins a pause after the one before has ended.
func every(length, pause time.Duration, kind string, on Target, d time.Duration) (steps []Step) {
	for at := time.Second; at+d < length; at += d + pause {
		steps = append(steps, Step{at, kind, on, d})
	}
	return steps
}

// scenarios are the plans that have names.
var scenarios = map[string]func(random *rand.Rand, length time.Duration) []Step{
	// A leader that was stopped, and replaced, goes on as if nothing had been.
	"overthrown-leader": func(_ *rand.Rand, length time.Duration) (steps []Step) {
		for at := time.Second; at < length; at += 4 * time.Second {
			steps = append(steps, Step{at, "overthrow", Leader, 8 * time.Second})
		}
		return steps
	},
	// The same, for so long that leases end meanwhile.
	"pause-leader-long": func(_ *rand.Rand, length time.Duration) []Step {
		return every(length, 2*time.Second, "pause", Leader, 5*time.Second)
	},
	// What the others answer the leader comes when it is no leader any more.
	"late-answers": func(_ *rand.Rand, length time.Duration) []Step {
		return every(length, 2*time.Second, "deaf", Leader, 2500*time.Millisecond)
	},
	// The leader hears the others, and they don't hear it.
	"mute-leader": func(_ *rand.Rand, length time.Duration) []Step {
		return every(length, 2*time.Second, "mute", Leader, 3*time.Second)
	},
	"isolated-leader": func(_ *rand.Rand, length time.Duration) []Step {
		return every(length, 2*time.Second, "isolate", Leader, 3*time.Second)
	},
	// A firewall rejects who wants to connect to the leader.
	"rejected-leader": func(_ *rand.Rand, length time.Duration) []Step {
		return every(length, 2*time.Second, "refuse", Leader, 3*time.Second)
	},
	"leader-killed-under-loss": func(_ *rand.Rand, length time.Duration) []Step {
		return append([]Step{{0, "loss", All, length}}, every(length, 2*time.Second, "kill", Leader, time.Second)...)
	},
	"all-killed": func(_ *rand.Rand, length time.Duration) []Step {
		return every(length, 4*time.Second, "kill", All, 500*time.Millisecond)
	},
	"leader-moves-and-pauses": func(_ *rand.Rand, length time.Duration) []Step {
		return append(every(length, 1200*time.Millisecond, "move", Leader, time.Millisecond), every(length, 2*time.Second, "pause", Any, 1500*time.Millisecond)...)
	},
	"wiped": func(_ *rand.Rand, length time.Duration) []Step {
		return []Step{{time.Second, "wipe", Follower, time.Second}, {length / 2, "wipe", Leader, time.Second}}
	},
	// All machines lose their power at once: what was acknowledged is on a majority's disks, and no less.
	"blackout": func(_ *rand.Rand, length time.Duration) []Step {
		return every(length, 5*time.Second, "power", All, 300*time.Millisecond)
	},
	// Power is lost in the midst of changes of the lead.
	"power-and-moves": func(_ *rand.Rand, length time.Duration) []Step {
		return append(every(length, 2*time.Second, "power", Leader, 500*time.Millisecond), every(length, 1300*time.Millisecond, "move", Leader, time.Millisecond)...)
	},
	"hanging-leader": func(_ *rand.Rand, length time.Duration) []Step {
		return every(length, 2*time.Second, "hang", Leader, 4*time.Second)
	},
	"hanging-follower": func(_ *rand.Rand, length time.Duration) []Step {
		return append(every(length, time.Second, "hang", Follower, 4*time.Second), every(length, 2*time.Second, "move", Leader, time.Millisecond)...)
	},
	"bad-disks": func(_ *rand.Rand, length time.Duration) []Step {
		return append(every(length, 3*time.Second, "full", Any, 2*time.Second), every(length, 5*time.Second, "fail", Any, 2*time.Second)...)
	},
	// A disk stays full through several elections, and the lead is moved, also to its member and to one that is down.
	"full-through-elections": func(_ *rand.Rand, length time.Duration) []Step {
		steps := append(every(length, time.Second, "move", Leader, time.Millisecond), every(length, 3*time.Second, "kill", Any, 1500*time.Millisecond)...)
		return append(steps, every(length, time.Second, "full", Leader, (length-3*time.Second)/2)...)
	},
	"jumping-clocks": func(_ *rand.Rand, length time.Duration) []Step {
		return append(every(length, 300*time.Millisecond, "clock", All, 2*time.Second), every(length, 3*time.Second, "kill", Leader, time.Second)...)
	},
	"quiet": func(*rand.Rand, time.Duration) []Step { return nil },
}

// Scenarios are the names of the scenarios whose faults are all among kinds.
func Scenarios(kinds []string) (names []string) {
	for name, make := range scenarios {
		possible := true
		for _, s := range make(rand.New(rand.NewPCG(1, 1)), time.Minute) {
			possible = possible && slices.Contains(kinds, s.Kind)
		}
		if possible {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Scenario makes the plan of a name.
func Scenario(name string, random *rand.Rand, length time.Duration) (Plan, error) {
	make, ok := scenarios[name]
	if !ok {
		return Plan{}, fmt.Errorf("there is no scenario %q", name)
	}
	return Plan{name, length, make(random, length)}, nil
}
