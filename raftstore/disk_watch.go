package raftstore

import (
	"context"
	"slices"
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/disk"
	"github.com/ctlplane/ctlplane/raftstore/peers"
)

// watchDisk raises an alarm when the disk is nearly full, before it is full, and takes it back when there is
// room again. What can be done for room it does.
func (m *Member) watchDisk() {
	ticker := m.config.Clock.NewTicker(disk.Period)
	defer ticker.Stop()
	for {
		select {
		case <-m.disk.Full():
		case <-ticker.C():
		case <-m.life.Done():
			return
		}
		m.checkDisk()
	}
}

// checkDisk acts on how much is free. Everything it does is done again as long as it is needed.
func (m *Member) checkDisk() {
	space, err := m.disk.Look()
	if err != nil {
		m.logger.Warn("the disk can't be watched", "error", err)
		return
	}
	marks, id := m.disk.Marks, m.config.Identity.MemberID
	alarmed := slices.Contains(m.machine.Store().Alarmed(kv.AlarmDisk), id)
	switch {
	case space.Free < marks.Low:
		if !alarmed {
			m.logger.Error("the disk is nearly full; values are refused once that holds for so many members that the others are no majority",
				"directory", m.config.DataDir, "free", space.Free, "needed", marks.Low, "size", space.Total)
			m.setAlarm(pb.AlarmRequest_ACTIVATE, kv.AlarmDisk, id)
		}
		m.freeDisk(space)
	case space.Free > marks.High || !alarmed:
		m.disk.MakeReserve(space)
		if alarmed && m.disk.Reserved() {
			m.logger.Info("the disk has room again", "directory", m.config.DataDir, "free", space.Free, "size", space.Total)
			m.setAlarm(pb.AlarmRequest_DEACTIVATE, kv.AlarmDisk, id)
		}
		m.disk.RoomAgain()
	default:
		m.freeDisk(space)
		m.disk.RoomAgain()
	}
}

// freeDisk does what can be done on a disk that is nearly full: the Raft log is cut, what compactions and
// deletions have left is taken out of the database, and the lead goes to a member that has room.
func (m *Member) freeDisk(space disk.Space) {
	if err := m.CutLog(); err != nil {
		if disk.IsFull(err) {
			m.disk.GiveUpReserve()
		}
		m.logger.Debug("the Raft log was not cut", "error", err)
	}
	m.reclaim(space)
	m.leaveLead()
}

// reclaimed is what there was in the state when its space was reclaimed last.
type reclaimed struct {
	live, compacted int64 // of watchDisk's goroutine
	running         atomic.Bool
	again           atomic.Bool // it was not done to the end
}

// reclaim takes out of the database what is superfluous since it was last done, beside everything else, if what
// is left certainly has room while that is written. Otherwise it is left to the database's own pace.
func (m *Member) reclaim(space disk.Space) {
	store, last := m.machine.Store(), &m.reclaimed
	live, compacted := store.LiveBytes(), store.Metrics().CompactedRevision
	something := live < last.live || compacted > last.compacted || last.again.Load()
	if live > space.Free || !something || !last.running.CompareAndSwap(false, true) {
		return
	}
	last.again.Store(false)
	last.live, last.compacted = live, compacted
	m.wg.Go(func() {
		defer last.running.Store(false)
		if err := m.defragment(m.life, store); err != nil {
			last.again.Store(true)
			m.logger.Debug("the database's space was not reclaimed; trying again", "error", err)
		}
	})
}

// leaveLead moves the lead to a voter whose disk has room, if there is one.
func (m *Member) leaveLead() {
	if !m.route().Here {
		return
	}
	full := m.machine.Store().Alarmed(kv.AlarmDisk)
	ctx, cancel := context.WithTimeout(m.life, m.config.RequestTimeout)
	defer cancel()
	heir, ok := m.chooseHeir(ctx, 1, func(h *peers.Health) bool { return !slices.Contains(full, h.Id) })
	if !ok {
		return
	}
	if err := m.transfer(ctx, heir); err != nil {
		m.logger.Debug("the lead was not handed over; trying again", "to", m.nameOf(heir.ID), "error", err)
		return
	}
	m.logger.Info("the lead goes to a member whose disk has room", "leader", m.nameOf(heir.ID))
}

// setAlarm raises an alarm or takes it back, at whoever leads. A failure is logged: who sets it does so again.
func (m *Member) setAlarm(action pb.AlarmRequest_AlarmAction, kind pb.AlarmType, member uint64) {
	ctx, cancel := context.WithTimeout(m.life, m.config.RequestTimeout)
	defer cancel()
	result, err := m.Propose(ctx, kv.Command{Alarm: &pb.AlarmRequest{Action: action, MemberID: member, Alarm: kind}})
	if err := firstError(err, result.Err); err != nil && m.life.Err() == nil {
		m.logger.Warn("an alarm was not set; trying again", "alarm", alarmName(kind), "action", action, "error", err)
	}
}

func alarmName(kind pb.AlarmType) string {
	switch kind {
	case kv.AlarmDisk:
		return "NOSPACE (disk)"
	case kv.AlarmQuota:
		return "NOSPACE (quota)"
	}
	return kind.String()
}
