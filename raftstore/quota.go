package raftstore

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/disk"
)

// admit turns a command away that the alarms refuse, or that takes what is stored over the quota. What is
// stored are all versions that can still be read, their history included (kv.Store.StoredBytes): it is a compaction that
// makes room, and does so at once.
//
// Only the leader does: others may not know yet that an alarm was taken back. For the quota it raises an
// alarm, which is looked at in apply too: so however many commands are on their way, the answer is the same
// everywhere.
func (m *Member) admit(command *kv.Command, size int) error {
	if !m.leads() {
		return nil
	}
	store := m.machine.Store()
	if err := store.Refused(command); err != nil {
		return err
	}
	if m.config.QuotaBytes <= 0 || !command.TakesRoom() {
		return nil
	}
	if store.StoredBytes()+int64(size) <= m.config.QuotaBytes {
		return nil
	}
	select {
	case m.overQuota <- int64(size):
	default:
	}
	return kv.ErrNoSpace
}

// watchQuota raises and takes back the alarm of the quota while this member leads. It takes it back once a
// tenth of the quota is free, and what was turned away last would fit.
func (m *Member) watchQuota(ctx context.Context) {
	ticker := m.config.Clock.NewTicker(disk.Period)
	defer ticker.Stop()
	var refused int64
	for {
		m.checkQuota(refused)
		select {
		case refused = <-m.overQuota:
		case <-ticker.C():
			if len(m.machine.Store().Alarmed(kv.AlarmQuota)) == 0 {
				refused = 0
			}
		case <-ctx.Done():
			return
		}
	}
}

// checkQuota acts on how much is stored, and on the size of the command that was turned away last, 0 if none was. One that takes
// half the quota and more is turned away alone.
func (m *Member) checkQuota(refused int64) {
	store := m.machine.Store()
	stored, quota := store.StoredBytes(), m.config.QuotaBytes
	fits := quota - min(refused, quota/2)
	alarmed := store.Alarmed(kv.AlarmQuota)
	switch {
	case quota > 0 && len(alarmed) == 0 && stored > fits:
		m.logger.Error("the quota is used up: values are refused until the history is compacted, after deletions where keys take the room, or the quota is raised", "stored", stored, "quota", quota)
		m.setAlarm(pb.AlarmRequest_ACTIVATE, kv.AlarmQuota, m.config.Identity.MemberID)
	case len(alarmed) > 0 && (quota <= 0 || stored <= min(fits, quota-quota/10)):
		m.logger.Info("the quota has room again", "stored", stored, "quota", quota)
		for _, member := range alarmed {
			m.setAlarm(pb.AlarmRequest_DEACTIVATE, kv.AlarmQuota, member)
		}
	}
}
