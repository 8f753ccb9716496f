package raftstore

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/ctlplane/ctlplane/durable"
	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/kv/etcdfile"
	"github.com/ctlplane/ctlplane/kv/offline"
)

const (
	migratedFile = "migrated.json"
	copiedFile   = "etcd.db" // the etcd's snapshot, which a copy begins with
)

// Migrated is the note of a data directory that was made of a running etcd. It stays there.
type Migrated struct {
	// From are the etcd's client URLs.
	From []string `json:"from"`
	// Revision is the last one that was taken over.
	Revision int64 `json:"revision"`
}

// LoadMigrated reads the note, nil where there is none that counts: that of a directory which was not completed does not.
func LoadMigrated(dataDir string) (*Migrated, error) {
	if _, err := os.Stat(filepath.Join(dataDir, restoringDir)); err == nil {
		return nil, nil
	}
	path := filepath.Join(dataDir, migratedFile)
	content, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	m := &Migrated{}
	if err := json.Unmarshal(content, m); err != nil || m.Revision < 1 {
		return nil, fmt.Errorf("%s is damaged: it only tells where the data came from; remove it to go on without", path)
	}
	return m, nil
}

// LiveCopy is a data directory that is being made of an etcd that is still written to. It is for one goroutine.
//
// Invariants:
//  1. Until Complete has returned without an error, no member starts on the directory, and the next LiveCopy or Restore replaces
//     what is in it.
//  2. Close leaves either a whole data directory or nothing.
type LiveCopy struct {
	dir       *restoreDir
	imported  *offline.LiveImport // nil before Import and after Complete
	completed bool
	logger    *slog.Logger
}

// NewLiveCopy takes a directory that is empty or missing. Close lets go of it.
func NewLiveCopy(dataDir string, logger *slog.Logger) (*LiveCopy, error) {
	dir, err := claimForRestore(dataDir)
	if err != nil {
		return nil, err
	}
	c := &LiveCopy{dir: dir, logger: logger}
	if err := durable.MakeDir(dir.temp()); err != nil {
		return nil, errors.Join(err, c.Close())
	}
	return c, nil
}

// LiveCopyFile is the path of a file that lives as long as the copy that is being made in a directory.
func LiveCopyFile(dataDir, name string) string { return filepath.Join(dataDir, restoringDir, name) }

// SnapshotFile is where the etcd's snapshot is to be put that Import begins with, and Auth reads.
func (c *LiveCopy) SnapshotFile() string { return LiveCopyFile(c.dir.path, copiedFile) }

func (c *LiveCopy) store() string { return filepath.Join(c.dir.temp(), stateDir) }

// Import begins the copy with the etcd's snapshot, and removes it.
func (c *LiveCopy) Import(ctx context.Context, progress Progress) error {
	err := c.readSnapshot(ctx, progress, func(reader *etcdfile.Reader) (err error) {
		c.imported, err = offline.BeginLiveImport(ctx, kv.Options{Dir: c.store(), Logger: c.logger}, reader)
		return err
	})
	return restoreError(err)
}

// Auth reads users and roles of another snapshot, and removes it.
func (c *LiveCopy) Auth(ctx context.Context) (contents *etcdfile.Contents, err error) {
	err = c.readSnapshot(ctx, nil, func(reader *etcdfile.Reader) (err error) {
		contents, err = reader.Contents()
		return err
	})
	return contents, err
}

// readSnapshot has read read the snapshot, whose checksum was checked as it arrived.
func (c *LiveCopy) readSnapshot(ctx context.Context, progress Progress, read func(*etcdfile.Reader) error) (err error) {
	file, err := openBackupFile(c.SnapshotFile())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close(), os.Remove(file.Name())) }()
	if err := file.verify(ctx, true, progress); err != nil {
		return err
	}
	reader, err := etcdfile.NewReader(&countedReader{source: file, tell: func(done int64) { progress.tell(min(done, file.size), file.size) }}, file.size)
	if err != nil {
		return err
	}
	return read(reader)
}

// Store is what the copy is written to, from Import to Complete.
func (c *LiveCopy) Store() *offline.LiveImport { return c.imported }

// Complete makes a data directory of the copy, from which a member of a new cluster begins.
func (c *LiveCopy) Complete(end offline.LiveEnd, note Migrated) (*Restored, error) {
	imported := c.imported
	c.imported = nil
	if err := errors.Join(imported.Finish(end), imported.Close()); err != nil {
		return nil, restoreError(err)
	}
	summary, err := offline.Adopt(kv.Options{Dir: c.store(), Logger: c.logger}, offline.Adoption{Index: restoredIndex, Term: restoredTerm})
	if err != nil {
		return nil, restoreError(err)
	}
	content, err := json.Marshal(note)
	if err != nil {
		return nil, err
	}
	if err := durable.WriteFile(filepath.Join(c.dir.path, migratedFile), append(content, '\n')); err != nil {
		return nil, restoreError(err)
	}
	restored := restoreNote{ClusterID: newID()}
	r := &restore{dir: c.dir}
	if err := r.complete(c.store(), restored); err != nil {
		return nil, restoreError(err)
	}
	c.completed = true
	return &Restored{Format: BackupEtcd, ClusterID: restored.ClusterID, Summary: summary}, c.Close()
}

// Close lets go of the directory.
func (c *LiveCopy) Close() error {
	if c.dir == nil {
		return nil
	}
	dir := c.dir
	c.dir = nil
	var err error
	if c.imported != nil {
		err = c.imported.Close()
		c.imported = nil
	}
	return errors.Join(err, dir.release(c.completed))
}
