package raftstore

import (
	"github.com/hashicorp/raft"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/disk"
	"github.com/ctlplane/ctlplane/raftstore/membership"
)

// Status is the state of a member. Sizes are bytes.
type Status struct {
	ID, ClusterID uint64
	Name          string
	Leader        uint64 // 0: none is known
	Term          uint64
	CommitIndex   uint64
	AppliedIndex  uint64 // of the state machine
	LastIndex     uint64 // of the log
	IsLearner     bool
	Revision      int64

	DBSize, DBSizeInUse int64
	// Pending commands wait to be proposed or applied. Committed and Failed count those that ended.
	Pending           int64
	Committed, Failed uint64
	LeaderChanges     uint64

	// Alarms are those that are raised, for any member.
	Alarms []*pb.AlarmMember
	// Quota bounds Store.StoredBytes; 0: nothing but the disk does.
	Quota int64
	// Disk is what was free when it was looked at last. Below DiskLow the member raises an alarm.
	Disk    disk.Space
	DiskLow int64
	// DiskReserved is what is kept back for a full disk; 0 while that is in use.
	DiskReserved int64

	Store kv.Metrics
}

// Status tells the state of the member, without asking the others.
func (m *Member) Status() Status {
	store := m.machine.Store().Metrics()
	server, known := membership.Find(m.servers(), membership.ServerID(m.config.Identity.MemberID))
	commands := m.proposer.Stats()
	s := Status{
		ID: m.config.Identity.MemberID, ClusterID: m.config.Identity.ClusterID, Name: m.config.Identity.Name,
		Leader:       membership.MemberID(m.route().Leader),
		Term:         m.raft.CurrentTerm(),
		CommitIndex:  m.raft.CommitIndex(),
		AppliedIndex: store.AppliedIndex,
		LastIndex:    m.raft.LastIndex(),
		IsLearner:    !known || server.Suffrage != raft.Voter,
		Revision:     store.Revision,
		DBSize:       store.DiskBytes, DBSizeInUse: store.InUseBytes,
		Pending: commands.Pending, Committed: commands.Committed, Failed: commands.Failed,
		LeaderChanges: m.leaderChanges.Load(),
		Store:         store,
	}
	s.Alarms, s.Quota = m.machine.Store().Alarms(), max(m.config.QuotaBytes, 0)
	s.Disk, s.DiskLow, s.DiskReserved = m.disk.Status()
	return s
}
