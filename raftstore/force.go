package raftstore

import (
	"errors"
	"fmt"

	"github.com/hashicorp/raft"

	"github.com/ctlplane/ctlplane/raftstore/membership"
)

// forceNewCluster makes this member the only one of its group, learners left out as well: the way out when the
// majority is lost for good. What its log has is taken as committed: more can't be known.
//
// The others must never be started again with their old directories: they would go on as the old cluster.
func (m *Member) forceNewCluster() error {
	last, err := m.stores.Log.LastIndex()
	if err != nil {
		return err
	}
	newest, err := m.snapshots.Newest()
	if err != nil {
		return err
	}
	if last == 0 && newest == nil {
		return errors.New("there is no cluster in the data directory that could be made a new one of: start without --force-new-cluster")
	}
	index, term := m.machine.Store().AppliedIndex(), m.machine.Store().AppliedTerm()
	if err := m.applyRest(index, last); err != nil {
		return err
	}
	if last > 0 {
		var entry raft.Log
		if err := m.stores.Log.GetLog(last, &entry); err != nil {
			return err
		}
		if last >= index {
			index, term = last, entry.Term
		}
	}
	if err := m.machine.Store().Flush(); err != nil {
		return err
	}
	if err := m.noteAlone(index, term); err != nil {
		return err
	}
	m.logger.Warn("this member is now the only one of its cluster: delete the others' data directories before they are started again", "applied", index)
	return m.dropLog(last)
}

// applyRest applies the entries of the log that the state doesn't have.
func (m *Member) applyRest(applied, last uint64) error {
	for index := applied + 1; index <= last; index++ {
		entry := &raft.Log{}
		if err := m.stores.Log.GetLog(index, entry); err != nil {
			return fmt.Errorf("entry %d of the log: %w", index, err)
		}
		m.machine.Apply(entry)
		if err := m.machine.Err(); err != nil {
			return err
		}
	}
	return nil
}

// noteAlone notes that the state is durable up to index, and that the group is this member.
func (m *Member) noteAlone(index, term uint64) error {
	alone := raft.Configuration{Servers: []raft.Server{m.self()}}
	sink, err := m.snapshots.Create(raft.SnapshotVersionMax, index, term, alone, index, nil)
	if err != nil {
		return err
	}
	return sink.Close()
}

func (m *Member) self() raft.Server {
	return raft.Server{
		Suffrage: raft.Voter, ID: membership.ServerID(m.config.Identity.MemberID), Address: m.transport.LocalAddr(),
	}
}

// dropLog empties the log: an older change of members in it would count more than the snapshot.
func (m *Member) dropLog(last uint64) error {
	if last == 0 {
		return nil
	}
	first, err := m.stores.Log.FirstIndex()
	if err != nil {
		return err
	}
	return m.stores.Log.DeleteRange(first, last)
}
