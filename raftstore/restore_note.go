package raftstore

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/hashicorp/raft"

	"github.com/ctlplane/ctlplane/durable"
	"github.com/ctlplane/ctlplane/raftstore/raftlog"
)

// How a member begins with a state: its group's log begins behind it. The state counts as what the first entry
// left, of the first term, and a snapshot says so. Whoever joins has nothing of that entry, and gets the state.
const (
	restoredIndex = 1
	restoredTerm  = 1
)

const (
	restoreNoteFile = "restored.json"
	lockFile        = "LOCK"
	stateDir        = "kv"
)

// restoreNote is the note of a data directory that was restored and is no member's yet.
type restoreNote struct {
	// ClusterID is that of the cluster which begins with the state.
	ClusterID uint64 `json:"clusterId,string"`
}

func (n restoreNote) save(dataDir string) error {
	content, err := json.Marshal(n)
	if err != nil {
		return err
	}
	return durable.WriteFile(filepath.Join(dataDir, restoreNoteFile), append(content, '\n'))
}

// loadRestoreNote reads the note, nil where there is none.
func loadRestoreNote(dataDir string) (*restoreNote, error) {
	if _, err := os.Stat(filepath.Join(dataDir, restoringDir)); err == nil {
		return nil, fmt.Errorf("restoring a snapshot, or migrating an etcd, into %s was cut off: run it again", dataDir)
	}
	path := filepath.Join(dataDir, restoreNoteFile)
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	n := &restoreNote{}
	if err := json.Unmarshal(content, n); err != nil || n.ClusterID == 0 {
		return nil, fmt.Errorf("%s is damaged: restore the snapshot again, into an empty directory", path)
	}
	return n, nil
}

// dropRestoreNote drops the note, once the data directory is a member's.
func dropRestoreNote(dataDir string) error {
	err := os.Remove(filepath.Join(dataDir, restoreNoteFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return errors.Join(err, durable.SyncDir(dataDir))
}

// giveUpFor drops the restored state: the member gets the same one from the cluster's others. It is refused
// where theirs is another.
func (n *restoreNote) giveUpFor(clusterID uint64, dataDir string) error {
	if n.ClusterID != clusterID {
		return fmt.Errorf("%w: %s was restored from a snapshot, and the cluster that answers has not begun with it: start the restored member first and let the others join it, or restore all members from the same file with the same --initial-cluster and --initial-cluster-token",
			ErrOtherCluster, dataDir)
	}
	return os.RemoveAll(filepath.Join(dataDir, stateDir))
}

// createRestoredGroup makes a group of this member alone, whose first entry left the restored state.
func (m *Member) createRestoredGroup(alone raft.Configuration) error {
	sink, err := m.snapshots.Create(raft.SnapshotVersionMax, restoredIndex, restoredTerm, alone, restoredIndex, nil)
	if err != nil {
		return err
	}
	if err := sink.Close(); err != nil {
		return err
	}
	return m.stable.SetUint64(raftlog.KeyCurrentTerm, restoredTerm)
}
