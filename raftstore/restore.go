package raftstore

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"syscall"

	"github.com/ctlplane/ctlplane/durable"
	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/kv/etcdfile"
	"github.com/ctlplane/ctlplane/kv/offline"
	"github.com/ctlplane/ctlplane/raftstore/archive"
)

// restoringDir is where a data directory is made before it is one.
const restoringDir = "restoring.tmp"

// restoredEntries are what a restore makes of it.
var restoredEntries = []string{stateDir, restoreNoteFile, migratedFile}

// maxRevisionBump leaves any cluster more revisions than it can use.
const maxRevisionBump = 1 << 60

// RestoreConfig says what becomes of a backup file. File and DataDir are required.
type RestoreConfig struct {
	// File is a backup in either format, or an etcd database.
	File string
	// DataDir must be empty or missing.
	DataDir string
	// SkipHashCheck accepts an etcd database that has no checksum at its end, or another's.
	SkipHashCheck bool
	// BumpRevision and MarkCompacted are for going back to an earlier state: see offline.Adoption.
	BumpRevision  int64
	MarkCompacted bool
	// Cluster, when it is not empty, identifies the new cluster: members that are restored from the same file
	// with the same Cluster will find each other. Otherwise the one member is to be the first of a cluster that
	// the others join with empty directories.
	Cluster string

	Progress Progress
	Logger   *slog.Logger
}

// Restored is what came of a restore.
type Restored struct {
	Format    BackupFormat
	ClusterID uint64
	offline.Summary
}

// Restore makes a data directory of a backup, from which a member of a new cluster begins. Nothing is there
// when it fails; when the process is ended on the way, what is left does not begin as a member, and the next
// Restore replaces it. The error wraps ErrNotBackup where the file is to blame.
func Restore(ctx context.Context, config RestoreConfig) (_ *Restored, err error) {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.BumpRevision < 0 || config.BumpRevision > maxRevisionBump {
		return nil, fmt.Errorf("the revision can be raised by 0 to %d", int64(maxRevisionBump))
	}
	if config.BumpRevision > 0 && !config.MarkCompacted {
		return nil, errors.New("raising the revision leaves a gap in the history: it has to be marked as compacted, too")
	}
	file, err := openBackupFile(config.File)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	dir, err := claimForRestore(config.DataDir)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, dir.release(err == nil)) }()
	r := &restore{RestoreConfig: config, file: file, dir: dir}
	return r.run(ctx)
}

// restoreDir is a data directory that is being made.
type restoreDir struct {
	path    string
	created bool // it was missing before
	lock    *os.File
}

func (d *restoreDir) temp() string { return filepath.Join(d.path, restoringDir) }

// claimForRestore takes a directory that has nothing in it but what an earlier restore left.
func claimForRestore(path string) (*restoreDir, error) {
	d := &restoreDir{path: path}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		d.created = true
	}
	if err := d.vacant(); err != nil { // before anything is made in it
		return nil, err
	}
	var err error
	if d.lock, err = lockDir(path); err != nil {
		return nil, err
	}
	// Again, for it may have been another's until now.
	if err := d.vacant(); err != nil {
		return nil, errors.Join(err, d.lock.Close())
	}
	if err := d.clear(); err != nil {
		return nil, errors.Join(err, d.lock.Close())
	}
	return d, nil
}

// vacant refuses a directory that has anything in it but what a restore left that was killed.
func (d *restoreDir) vacant() error {
	entries, err := os.ReadDir(d.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	// While this is there, nothing else that a restore makes counts.
	_, err = os.Stat(d.temp())
	cutOff := err == nil
	for _, entry := range entries {
		name := entry.Name()
		left := name == restoringDir || cutOff && slices.Contains(restoredEntries, name)
		if !left && name != lockFile && name != "lost+found" {
			return fmt.Errorf("the data directory %s is not empty: choose another, or remove it if its content is not needed", d.path)
		}
	}
	return nil
}

// clear removes what a restore makes. What marks that as not finished goes last.
func (d *restoreDir) clear() error {
	for _, name := range append(slices.Clone(restoredEntries), restoringDir) {
		if err := os.RemoveAll(filepath.Join(d.path, name)); err != nil {
			return err
		}
	}
	return nil
}

// release lets go of the directory; of one that has not become a data directory nothing is left.
func (d *restoreDir) release(done bool) error {
	var err error
	if done {
		err = errors.Join(os.RemoveAll(d.temp()), durable.SyncDir(d.path))
	} else {
		err = errors.Join(d.clear(), os.Remove(filepath.Join(d.path, lockFile)))
		if d.created {
			err = errors.Join(err, os.Remove(d.path))
		}
	}
	return errors.Join(err, d.lock.Close())
}

// restore is one call of Restore.
type restore struct {
	RestoreConfig
	file *backupFile
	dir  *restoreDir
}

func (r *restore) run(ctx context.Context) (*Restored, error) {
	digest, err := r.verify(ctx)
	if err != nil {
		return nil, err
	}
	temp := filepath.Join(r.dir.temp(), stateDir)
	if err := durable.MakeDir(r.dir.temp()); err != nil {
		return nil, err
	}
	if err := r.unpack(ctx, temp); err != nil {
		return nil, restoreError(err)
	}
	summary, err := offline.Adopt(r.options(temp), offline.Adoption{
		Index: restoredIndex, Term: restoredTerm, BumpRevision: r.BumpRevision, MarkCompacted: r.MarkCompacted,
	})
	if err != nil {
		return nil, restoreError(err)
	}
	note := restoreNote{ClusterID: r.clusterID(digest)}
	if err := r.complete(temp, note); err != nil {
		return nil, restoreError(err)
	}
	return &Restored{Format: r.file.format, ClusterID: note.ClusterID, Summary: summary}, nil
}

func restoreError(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("no room for the restored data: nothing was restored: %w", err)
	}
	return notBackup(err)
}

// verify checks the checksum, and returns what tells this content from others.
func (r *restore) verify(ctx context.Context) ([]byte, error) {
	total := r.file.size
	if err := r.file.verify(ctx, r.SkipHashCheck, func(done, _ int64) { r.Progress.tell(done/2, total) }); err != nil {
		return nil, err
	}
	if r.Cluster == "" {
		return nil, nil
	}
	sum := sha256.New()
	_, err := io.Copy(sum, io.NewSectionReader(r.file, 0, r.file.size))
	return sum.Sum(nil), err
}

// clusterID is the new cluster's: by chance, or the same for all members that are restored alike.
func (r *restore) clusterID(digest []byte) uint64 {
	if r.Cluster == "" {
		return newID()
	}
	sum := sha256.New()
	_, _ = fmt.Fprintf(sum, "%x %d %t %s", digest, r.BumpRevision, r.MarkCompacted, r.Cluster) // never fails
	return binary.BigEndian.Uint64(sum.Sum(nil))>>1 | 1
}

func (r *restore) options(dir string) kv.Options { return kv.Options{Dir: dir, Logger: r.Logger} }

// unpack makes a store of the file.
func (r *restore) unpack(ctx context.Context, dir string) error {
	source := &countedReader{source: r.file, tell: func(done int64) { r.Progress.tell((r.file.size+min(done, r.file.size))/2, r.file.size) }}
	if r.file.format == BackupNative {
		content := io.NewSectionReader(source, 0, r.file.size)
		if err := archive.Unpack(contextReader{ctx, content}, dir); err != nil {
			return fmt.Errorf("%w: %w", ErrNotBackup, err)
		}
		if left, err := content.Seek(0, io.SeekCurrent); err != nil || left != r.file.size {
			return fmt.Errorf("%w: bytes follow its end", ErrNotBackup)
		}
		return nil
	}
	reader, err := etcdfile.NewReader(source, r.file.size)
	if err != nil {
		return err
	}
	return offline.ImportEtcd(ctx, r.options(dir), reader)
}

// complete moves the store to where a member has it, and then notes that it is there.
func (r *restore) complete(store string, note restoreNote) error {
	if err := durable.SyncTree(store); err != nil {
		return err
	}
	if err := durable.Rename(store, filepath.Join(r.dir.path, stateDir)); err != nil {
		return err
	}
	return note.save(r.dir.path)
}

// countedReader counts what is read.
type countedReader struct {
	source io.ReaderAt
	done   atomic.Int64
	tell   func(done int64)
}

func (c *countedReader) ReadAt(p []byte, at int64) (int, error) {
	n, err := c.source.ReadAt(p, at)
	c.tell(c.done.Add(int64(n)))
	return n, err
}

// contextReader ends with a context.
type contextReader struct {
	ctx context.Context
	io.Reader
}

func (c contextReader) Read(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.Reader.Read(p)
}
