package raftstore

import (
	"errors"

	"github.com/hashicorp/raft"
)

// keepLogShort cuts the Raft log: once it has grown by enough entries or bytes since the last time, the
// state is made durable and the log's old end is cut off.
func (m *Member) keepLogShort() {
	ticker := m.config.Clock.NewTicker(m.config.SnapshotInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C():
		case <-m.life.Done():
			return
		}
		if err := m.cutGrownLog(); err != nil {
			m.logger.Warn("the Raft log was not cut; trying again", "error", err)
		}
	}
}

func (m *Member) cutGrownLog() error {
	newest, err := m.snapshots.Newest()
	if err != nil {
		return err
	}
	var cut uint64
	if newest != nil {
		cut = newest.Index
	}
	entries := m.machine.Store().AppliedIndex() - cut
	bytes := m.stores.Grown.Load()
	if int64(entries) <= 0 || (entries < m.config.SnapshotEntries && bytes < m.config.SnapshotBytes) {
		return nil
	}
	return m.CutLog()
}

// CutLog makes the state durable now and cuts the log, but for a tail that spares followers which are a
// little behind a snapshot: half of what the log grows between two cuts.
func (m *Member) CutLog() error {
	grown := m.stores.Grown.Load()
	settings := m.raft.ReloadableConfig()
	settings.TrailingLogs = m.trailing(grown)
	if err := m.raft.ReloadConfig(settings); err != nil {
		return err
	}
	err := m.raft.Snapshot().Error()
	if errors.Is(err, raft.ErrNothingNewToSnapshot) || errors.Is(err, raft.ErrRaftShutdown) {
		return nil
	}
	if err != nil {
		return err
	}
	m.stores.Grown.Add(-grown)
	return nil
}

// shortTail is how many entries are kept while the disk is short of room.
const shortTail = 64

// trailing turns the tail's bytes into entries, which is what Raft counts, by their size of late.
func (m *Member) trailing(grown int64) uint64 {
	entries := m.config.SnapshotEntries / 2
	last, _ := m.stores.Log.LastIndex()
	first, _ := m.stores.Log.FirstIndex()
	if last > first && grown > 0 {
		size := max(uint64(grown)/(last-first), 1)
		entries = min(entries, uint64(m.config.SnapshotBytes/2)/size)
	}
	if m.disk.Short() {
		entries = min(entries, shortTail)
	}
	return entries
}
