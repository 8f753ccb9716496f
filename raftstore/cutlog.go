package raftstore

import (
	"errors"
	"math"

	"github.com/hashicorp/raft"

	"github.com/ctlplane/ctlplane/raftstore/raftlog"
)

// keepLogShort cuts the Raft log: once it has grown by enough entries or bytes since the last time, the
// state is made durable and the log's old end is cut off. Bytes are noticed at once, entries from time to time.
func (m *Member) keepLogShort() {
	ticker := m.config.Clock.NewTicker(m.config.SnapshotInterval)
	defer ticker.Stop()
	for {
		select {
		case <-m.stores.Growth.Much():
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
	bytes := m.stores.Growth.Since().Bytes
	if int64(entries) <= 0 || (entries < m.config.SnapshotEntries && bytes < m.config.SnapshotBytes) {
		return nil
	}
	return m.CutLog()
}

// CutLog makes the state durable now and cuts the log, but for a tail that spares followers which are behind a snapshot.
func (m *Member) CutLog() error {
	m.cutting.Lock()
	defer m.cutting.Unlock()
	grown := m.stores.Growth.Since()
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
	m.stores.Growth.Cut(grown)
	return nil
}

// What the log's tail is: shortTail entries while the disk is short of room, but no more than a file of the log; a shareOfTail-th of
// what the log grows between two cuts as long as no follower needs more, and timesOfTail times of it while one does. For one that
// is sent the whole state it is all that follows that state, up to as much as the disk has room for.
const (
	shortTail   = 64
	shareOfTail = 4
	timesOfTail = 3
)

// trailing is how many entries the log's tail has. A follower that falls behind is noticed before it lacks more than the short one
// of them, and then the log is kept for it: the whole state would have to be sent in place of the entries that it lacks.
func (m *Member) trailing(grown raftlog.Size) uint64 {
	if m.disk.Short() {
		return tailOf(shortTail, m.disk.Marks.Segment, grown)
	}
	entries, bytes := m.config.SnapshotEntries, m.config.SnapshotBytes
	tail := tailOf(entries/shareOfTail, bytes/shareOfTail, grown)
	lacked, fed := m.followersLack()
	if lacked <= tail {
		return tail
	}
	tail = tailOf(timesOfTail*entries, min(timesOfTail*bytes, m.disk.Marks.Log), grown)
	if fed == 0 {
		return tail
	}
	// Raft counts back from what the log has when the state is written, and it grows until then.
	meanwhile := tailOf(entries, bytes, grown)
	return max(tail, min(fed+meanwhile, tailOf(math.MaxUint64, m.disk.Marks.Log, grown)))
}

// tailOf turns bytes into entries, which is what Raft counts, by their size of late; there are no more than so many.
func tailOf(entries uint64, bytes int64, grown raftlog.Size) uint64 {
	if grown.Bytes == 0 {
		return entries
	}
	return min(entries, uint64(bytes*grown.Entries/grown.Bytes))
}

// followersLack is how many of the newest entries a follower of this member lacks, as far as is known, and how many one that is sent
// the whole state: the most of each. They are 0 where this member does not lead.
func (m *Member) followersLack() (lacked, fed uint64) {
	term := m.raft.CurrentTerm()
	if !m.leadsIn(term) {
		return 0, 0
	}
	for _, server := range m.otherServers() {
		has, from := m.commits.Acknowledged(server.ID, term), m.commits.Fed(server.ID, term)
		last := max(m.raft.LastIndex(), has, from)
		lacked = max(lacked, last-has)
		if from > 0 {
			fed = max(fed, last-from)
		}
	}
	return lacked, fed
}
