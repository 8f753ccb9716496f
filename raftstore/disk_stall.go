package raftstore

import (
	"slices"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ctlplane/ctlplane/raftstore/disk"
	"github.com/ctlplane/ctlplane/raftstore/membership"
	"github.com/ctlplane/ctlplane/raftstore/peers"
)

// watchStalls looks for a disk that hangs. A leader whose disk does gives up the lead: its heartbeats, which need no disk,
// would keep the others from electing one that can commit entries.
func (m *Member) watchStalls() {
	watches := []*disk.StallWatch{
		disk.NewStallWatch(disk.WorkLog, &m.stores.Log.Calls, disk.StallLooks),
		disk.NewStallWatch(disk.WorkLog, &m.stores.Log.Entries, disk.StallLooks),
		disk.NewStallWatch(disk.WorkVote, &m.votes, disk.StallLooks),
		disk.NewStallWatch(disk.WorkState, m.machine.Work(), disk.StateStallLooks).PausedWhile(m.disk.Waiting), // for room
	}
	ticker := time.NewTicker(m.config.HeartbeatTimeout / disk.StallLooks) // a disk takes real time, whatever clock the leases have
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
			m.proposer.Abandon()
		case looks%disk.StallLooks == 0: // an election that was begun has until then
			m.yieldLead(looks == 0)
		}
	}
}

// noteStalls looks at all work, and returns whether a stall has begun.
func (m *Member) noteStalls(watches []*disk.StallWatch) (begun bool) {
	var hanging []string
	for _, watch := range watches {
		if watch.Look() && !slices.Contains(hanging, watch.Kind) {
			hanging = append(hanging, watch.Kind)
		}
	}
	before := m.hanging()
	for _, kind := range hanging {
		if !slices.Contains(before, kind) {
			begun = true
			message := "the disk hangs: what it was given has not ended for an election timeout; this member can't lead until it has"
			if kind == disk.WorkState {
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
	applied := m.machine.Store().AppliedIndex()
	onlyState := slices.Equal(m.hanging(), []string{disk.WorkState})
	others := membership.Majority(m.voters()) // what it takes without this one,
	if onlyState {
		others-- // which still votes and writes its log here
	}
	heir, ok := m.chooseHeir(m.life, max(others, 1), func(h *peers.Health) bool {
		return !onlyState || h.AppliedIndex > applied // or the entry is slow everywhere
	})
	if !ok {
		if first {
			m.logger.Warn("the disk hangs, and the lead stays here: no majority of the voters answers that its disk works")
		}
		return
	}
	m.logger.Warn("the disk hangs; handing the lead to a member whose disk works", "leader", m.nameOf(heir.ID))
	if err := m.startElectionAt(heir.ID, heir.Address); err != nil {
		m.logger.Warn("the lead was not handed over; trying again", "to", m.nameOf(heir.ID), "error", err)
		return
	}
	m.instruments.yields.Inc()
}
