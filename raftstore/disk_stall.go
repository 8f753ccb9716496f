package raftstore

import (
	"slices"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
)

// The kinds of work that a member's disks are given. Nothing of it fails where a disk hangs: it does not end.
const (
	workLog   = "log"   // entries of the Raft log
	workVote  = "vote"  // the term and the vote
	workState = "state" // entries that are applied
)

// diskWork counts what a disk was given to do, and what of that has ended. It takes no lock, so that whoever looks at it
// never waits for the disk himself.
type diskWork struct{ begun, ended atomic.Uint64 }

func (w *diskWork) begin(n int) { w.begun.Add(uint64(n)) }
func (w *diskWork) end(n int)   { w.ended.Add(uint64(n)) }

// stallLooks is how many looks at a work make an election timeout; stateStallLooks is how many it takes to call the state's
// disk hung. An entry that changes very much takes its time on a slow disk, at all members alike, and whatever its writer is
// told meanwhile is worse than waiting.
const (
	stallLooks      = 4
	stateStallLooks = 5 * stallLooks
)

// stallWatch finds work that had begun so many looks ago and has not ended. It counts looks, not time: a process
// that was stopped for a while has not looked meanwhile, and a clock that jumps makes no difference.
type stallWatch struct {
	kind   string
	work   *diskWork
	paused func() bool // that it waits for something else than the disk; nil: it never does
	begun  []uint64    // what had begun at the last looks
	next   int         // the oldest of them
}

// look tells whether the work stalls.
func (w *stallWatch) look() bool {
	if w.paused != nil && w.paused() {
		clear(w.begun)
		return false
	}
	stalls := w.work.ended.Load() < w.begun[w.next]
	w.begun[w.next] = w.work.begun.Load()
	w.next = (w.next + 1) % len(w.begun)
	return stalls
}

// watchStalls looks for a disk that hangs. A leader whose disk does gives up the lead: its heartbeats, which need no disk,
// would keep the others from electing one that can commit entries.
func (m *Member) watchStalls() {
	watches := []*stallWatch{
		{kind: workLog, work: &m.stores.log.calls, begun: make([]uint64, stallLooks)},
		{kind: workLog, work: &m.stores.log.entries, begun: make([]uint64, stallLooks)},
		{kind: workVote, work: &m.votes, begun: make([]uint64, stallLooks)},
		{kind: workState, work: &m.machine.work, begun: make([]uint64, stateStallLooks),
			paused: func() bool { return m.disk.waiting.Load() > 0 }}, // for room
	}
	ticker := time.NewTicker(m.config.HeartbeatTimeout / stallLooks) // a disk takes real time, whatever clock the leases have
	defer ticker.Stop()
	for looks := 0; ; looks++ {
		select {
		case <-ticker.C:
		case <-m.life.Done():
			return
		}
		if begun := m.noteStalls(watches); begun {
			looks = 0
		}
		switch {
		case !m.stalls():
		case m.raft.State() != raft.Leader:
			// Raft's loop, which may be waiting for the disk, has not told anybody that this member leads no more.
			m.leadership.set(false)
			m.proposer.abandon()
		case looks%stallLooks == 0: // an election that was begun has until then
			m.yieldLead(looks == 0)
		}
	}
}

// noteStalls looks at all work, and returns whether a stall has begun.
func (m *Member) noteStalls(watches []*stallWatch) (begun bool) {
	var hanging []string
	for _, watch := range watches {
		if watch.look() && !slices.Contains(hanging, watch.kind) {
			hanging = append(hanging, watch.kind)
		}
	}
	before := m.hanging()
	for _, kind := range hanging {
		if !slices.Contains(before, kind) {
			begun = true
			message := "the disk hangs: what it was given has not ended for an election timeout; this member can't lead until it has"
			if kind == workState {
				message = "entries have been applied for five election timeouts: the disk hangs, unless they change very much at once"
			}
			m.logger.Error(message, "work", kind, "directory", m.config.DataDir, "election-timeout", m.config.HeartbeatTimeout)
			m.instruments.stallBegun(kind)
		}
	}
	for _, kind := range before {
		if !slices.Contains(hanging, kind) {
			m.logger.Info("the disk no longer hangs", "work", kind, "directory", m.config.DataDir)
			m.instruments.stallEnded(kind)
		}
	}
	m.hangs.Store(&hanging)
	return begun
}

// hanging is the kinds of work that stall.
func (m *Member) hanging() []string {
	if hanging := m.hangs.Load(); hanging != nil {
		return *hanging
	}
	return nil
}

func (m *Member) stalls() bool { return len(m.hanging()) > 0 }

// yieldLead has another voter elected whose disk works. It asks nothing of Raft here, whose loop may be waiting for the
// disk, and which hands over only after it has written its log.
func (m *Member) yieldLead(first bool) {
	applied := m.machine.store.Load().AppliedIndex()
	onlyState := slices.Equal(m.hanging(), []string{workState})
	others := majority(m.voters()) // what it takes without this one,
	if onlyState {
		others-- // which still votes and writes its log here
	}
	heir, ok := m.chooseHeir(m.life, max(others, 1), func(h *health) bool {
		return !onlyState || h.AppliedIndex > applied // or the entry is slow everywhere
	})
	if !ok {
		if first {
			m.logger.Warn("the disk hangs, and the lead stays here: no majority of the voters answers that its disk works")
		}
		return
	}
	m.logger.Warn("the disk hangs; handing the lead to a member whose disk works", "leader", m.nameOf(heir.ID))
	if err := m.haveStand(heir.ID, heir.Address); err != nil {
		m.logger.Warn("the lead was not handed over; trying again", "to", m.nameOf(heir.ID), "error", err)
		return
	}
	m.instruments.yields.Inc()
}
