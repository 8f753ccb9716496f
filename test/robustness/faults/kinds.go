package faults

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/ctlplane/ctlplane/test/robustness/links"
	"github.com/ctlplane/ctlplane/test/robustness/members"
)

// kind is a way to disturb a member.
type kind struct {
	// process is set where nothing else may be done to the member's process meanwhile.
	process bool
	// disk is set where the member needs a disk of its own, clock where it needs a clock that can jump.
	disk, clock       bool
	targets           []Target
	shortest, longest time.Duration
	// do disturbs a member until ctx ends, and puts it in order again.
	do func(ctx context.Context, r *Run, m *members.Member) error
}

var anybody = []Target{Leader, Leader, Follower, Any}

// all are the kinds of faults.
var all = map[string]kind{
	"kill":      {true, false, false, append(anybody, All), 300 * time.Millisecond, 4 * time.Second, kill},
	"stop":      {true, false, false, anybody, 300 * time.Millisecond, 3 * time.Second, stop},
	"pause":     {true, false, false, anybody, 300 * time.Millisecond, 5 * time.Second, pause},
	"overthrow": {true, false, false, []Target{Leader}, 8 * time.Second, 9 * time.Second, overthrow},
	"wipe":      {true, false, false, []Target{Any}, 300 * time.Millisecond, 2 * time.Second, wipe},
	"move":      {false, false, false, []Target{Leader}, time.Millisecond, 2 * time.Millisecond, move},
	"deaf":      {false, false, false, anybody, 500 * time.Millisecond, 4 * time.Second, deaf},
	"mute":      {false, false, false, anybody, 500 * time.Millisecond, 4 * time.Second, mute},
	"isolate":   {false, false, false, anybody, 500 * time.Millisecond, 5 * time.Second, isolate},
	"one-way":   {false, false, false, anybody, 500 * time.Millisecond, 5 * time.Second, oneWay},
	"refuse":    {false, false, false, anybody, 500 * time.Millisecond, 4 * time.Second, refuse},
	"reject":    {false, false, false, anybody, 500 * time.Millisecond, 4 * time.Second, reject},
	"power":     {true, true, false, append(anybody, All, All), 300 * time.Millisecond, 3 * time.Second, power},
	"hang":      {false, true, false, anybody, time.Second, 5 * time.Second, hang},
	"slow":      {false, true, false, append(anybody, All), time.Second, 6 * time.Second, slow},
	"fail":      {true, true, false, anybody, 500 * time.Millisecond, 3 * time.Second, fail},
	"full":      {true, true, false, anybody, 500 * time.Millisecond, 4 * time.Second, full},
	"clock":     {false, false, true, append(anybody, All), time.Second, 6 * time.Second, clock},
	"delay":     {false, false, false, append(anybody, All), time.Second, 6 * time.Second, delay},
	"loss":      {false, false, false, append(anybody, All), time.Second, 6 * time.Second, loss},
}

// Kinds are the names of all kinds of faults that are possible with or without disks of the members' own, and clocks that can jump.
func Kinds(disks, clocks bool) (names []string) {
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if (disks || !all[name].disk) && (clocks || !all[name].clock) {
			names = append(names, name)
		}
	}
	return names
}

func kill(ctx context.Context, _ *Run, m *members.Member) error {
	m.Kill()
	<-ctx.Done()
	return m.Start()
}

func stop(ctx context.Context, r *Run, m *members.Member) error {
	if err := m.Stop(); err != nil {
		// A member that can't hand over and end in time, under faults, is killed.
		r.Log("%v", err)
	}
	<-ctx.Done()
	return m.Start()
}

func pause(ctx context.Context, _ *Run, m *members.Member) error {
	m.Pause()
	<-ctx.Done()
	m.Resume()
	return nil
}

// overthrow pauses a leader until another member leads, and clients have written there.
func overthrow(ctx context.Context, r *Run, m *members.Member) error {
	m.Pause()
	defer m.Resume()
	for ctx.Err() == nil {
		if leader := r.cluster.Leader(ctx, m); leader != nil && leader != m {
			r.Log("%s leads", leader.Name)
			select {
			case <-time.After(300*time.Millisecond + r.duration(500*time.Millisecond)):
			case <-ctx.Done():
			}
			return nil
		}
	}
	return nil
}

func wipe(ctx context.Context, r *Run, m *members.Member) error {
	return m.Wipe(context.WithoutCancel(ctx), r.admin, r.Log)
}

func move(ctx context.Context, r *Run, m *members.Member) error {
	to := r.other(m)
	if err := m.MoveLeader(context.WithoutCancel(ctx), to); err != nil {
		r.Log("the lead did not move from %s to %s: %v", m.Name, to.Name, err)
	}
	return nil
}

// between sets the links to and from a member, until ctx ends.
func (r *Run) between(ctx context.Context, m *members.Member, to, from links.State) {
	r.setLinks(m, to, from)
	<-ctx.Done()
	r.setLinks(m, links.State{}, links.State{})
}

func (r *Run) setLinks(m *members.Member, to, from links.State) {
	for _, other := range r.cluster.Members {
		if other != m {
			r.cluster.Net.Set(other.Number, m.Number, to)
			r.cluster.Net.Set(m.Number, other.Number, from)
		}
	}
}

// deaf holds back what the others send to a member; it comes late.
func deaf(ctx context.Context, r *Run, m *members.Member) error {
	r.between(ctx, m, links.State{Held: true}, links.State{})
	return nil
}

// mute holds back what a member sends to the others.
func mute(ctx context.Context, r *Run, m *members.Member) error {
	r.between(ctx, m, links.State{}, links.State{Held: true})
	return nil
}

// isolate holds back both; the connections are reset in the end, and what was held is gone.
func isolate(ctx context.Context, r *Run, m *members.Member) error {
	r.setLinks(m, links.State{Held: true}, links.State{Held: true})
	<-ctx.Done()
	for _, other := range r.cluster.Members {
		if other != m {
			r.cluster.Net.Reset(other.Number, m.Number)
		}
	}
	r.setLinks(m, links.State{}, links.State{})
	return nil
}

// oneWay holds back what a member sends to one other.
func oneWay(ctx context.Context, r *Run, m *members.Member) error {
	other := r.other(m)
	r.cluster.Net.Set(m.Number, other.Number, links.State{Held: true})
	<-ctx.Done()
	r.cluster.Net.Set(m.Number, other.Number, links.State{})
	return nil
}

// refuse has all connections to a member refused; its own to others go through.
func refuse(ctx context.Context, r *Run, m *members.Member) error {
	r.cluster.Net.Refuse(m.Number)
	<-ctx.Done()
	return r.cluster.Net.Accept(m.Number)
}

// reject has the connections between a member and one other reset, in both directions.
func reject(ctx context.Context, r *Run, m *members.Member) error {
	other := r.other(m)
	set := func(s links.State) {
		r.cluster.Net.Set(m.Number, other.Number, s)
		r.cluster.Net.Set(other.Number, m.Number, s)
	}
	set(links.State{Rejected: true})
	r.cluster.Net.Reset(m.Number, other.Number)
	<-ctx.Done()
	set(links.State{})
	return nil
}

func delay(ctx context.Context, r *Run, m *members.Member) error {
	s := links.State{Delay: r.duration(200 * time.Millisecond), Jitter: r.duration(200 * time.Millisecond)}
	r.between(ctx, m, s, s)
	return nil
}

func loss(ctx context.Context, r *Run, m *members.Member) error {
	s := links.State{Loss: 0.02}
	r.between(ctx, m, s, s)
	return nil
}

// clock sets a member's wall clock forward or back, by up to half an hour.
func clock(ctx context.Context, r *Run, m *members.Member) error {
	by := r.duration(time.Hour) - 30*time.Minute
	r.Log("the clock of %s jumps by %v", m.Name, by.Round(time.Second))
	if err := m.Jump(by); err != nil {
		return err
	}
	<-ctx.Done()
	return m.Jump(0)
}
