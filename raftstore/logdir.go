package raftstore

import (
	"fmt"
	"path/filepath"

	"github.com/ctlplane/ctlplane/raftstore/raftlog"
)

// openLogDir is where the Raft log is kept. One that lies apart from the data directory gets a lock of its own: two
// members that write into the same log would destroy it.
func (m *Member) openLogDir() (string, error) {
	if m.config.LogDir == "" {
		return filepath.Join(m.config.DataDir, "raft"), nil
	}
	lock, err := lockDir(m.config.LogDir)
	if err != nil {
		return "", fmt.Errorf("the Raft log's directory: %w", err)
	}
	m.onUnwind(lock.Close)
	return m.config.LogDir, nil
}

// checkLog refuses a member whose state is here and whose log is not, because it lies elsewhere or was lost: without
// its log it does not know what it has promised to others, and could take back a vote or an acknowledged write.
func (m *Member) checkLog() error {
	if m.machine.Store().AppliedIndex() == 0 {
		return nil
	}
	term, err := raftlog.CurrentTerm(m.stable)
	if err != nil || term > 0 {
		return err
	}
	if from, err := loadRestoreNote(m.config.DataDir); err != nil || from != nil {
		return err // a restored state begins without a log
	}
	where := m.config.LogDir
	if where == "" {
		where = filepath.Join(m.config.DataDir, "raft")
	}
	return fmt.Errorf("the data directory is damaged: %s has a state and %s has no Raft log: start it with the directory that the log lies in (--wal-dir), or delete both and join again, as a new member",
		m.config.DataDir, where)
}
