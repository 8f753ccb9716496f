package raftstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hashicorp/raft"

	"github.com/ctlplane/ctlplane/api/snapshot"
	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/kv/etcdfile"
	"github.com/ctlplane/ctlplane/kv/offline"
	"github.com/ctlplane/ctlplane/raftstore/archive"
	"github.com/ctlplane/ctlplane/raftstore/membership"
)

// BackupFormat is what a backup is written as.
type BackupFormat string

const (
	// BackupEtcd is etcd's database file: for etcd's own tools and servers. It is written anew each time.
	BackupEtcd BackupFormat = snapshot.FormatEtcd
	// BackupNative is an archive of the store's own files, which are sent as they lie on the disk.
	BackupNative BackupFormat = snapshot.FormatNative
)

// archiveVersion is that of the files in a native backup.
const archiveVersion = "1"

// Backup is what users call a snapshot: a copy of a member's state of one moment, to be read once. A SHA-256 of
// all that is read belongs behind it; to make it is the reader's, who sends it.
type Backup struct {
	io.Reader
	// Size is how many bytes there are to read.
	Size    int64
	Version string
	close   func() error
}

// NewBackup is a backup that is read from content, and needs no closing.
func NewBackup(content io.Reader, size int64, version string) *Backup {
	return &Backup{Reader: content, Size: size, Version: version, close: func() error { return nil }}
}

// Close removes what was kept on the disk for the backup.
func (b *Backup) Close() error { return b.close() }

// Backup makes a copy of what this member has applied. Nothing waits for it: it is made of hard links to the
// files, which are read while the member goes on. In etcd's format it takes as much room beside the data as the
// file has, until it is closed, and fails with ErrNoRoom where the member would have to refuse values for it.
func (m *Member) Backup(ctx context.Context, format BackupFormat) (*Backup, error) {
	begun := time.Now()
	if err := m.show(ctx); err != nil {
		return nil, err
	}
	b, err := m.makeBackup(ctx, format)
	if err != nil {
		return nil, err
	}
	remove := b.close
	b.close = func() error {
		m.instruments.backedUp(begun)
		return remove()
	}
	return b, nil
}

func (m *Member) makeBackup(ctx context.Context, format BackupFormat) (_ *Backup, err error) {
	temp, err := m.snapshots.MakeTemp("backup")
	if err != nil {
		return nil, backupError(err)
	}
	remove := func() error { return os.RemoveAll(temp) }
	defer func() {
		if err != nil {
			err = errors.Join(backupError(err), remove())
		}
	}()
	dir := filepath.Join(temp, "data")
	if err := m.machine.Checkpoint(dir); err != nil {
		return nil, err
	}
	switch format {
	case BackupNative:
		return nativeBackup(dir, remove)
	case BackupEtcd:
		path := filepath.Join(temp, "db")
		if err := m.writeEtcd(ctx, dir, filepath.Join(temp, "sorting"), path); err != nil {
			return nil, err
		}
		if err := os.RemoveAll(dir); err != nil { // the links would keep files that compactions replace
			return nil, err
		}
		return fileBackup(path, remove)
	}
	return nil, fmt.Errorf("unknown format of a backup: %q", format)
}

func backupError(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("no room for the backup's temporary files beside the data: free some, or ask another member: %w", err)
	}
	return err
}

func nativeBackup(dir string, remove func() error) (*Backup, error) {
	summary, err := summarize(dir)
	if err != nil {
		return nil, err
	}
	content, err := archive.NewReader(dir, &archive.Contents{Version: archiveVersion, Summary: summary})
	if err != nil {
		return nil, err
	}
	return &Backup{Reader: content, Size: content.Size(), Version: archiveVersion, close: func() error {
		return errors.Join(content.Close(), remove())
	}}, nil
}

func fileBackup(path string, remove func() error) (*Backup, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &Backup{Reader: file, Size: info.Size(), Version: etcdfile.StorageVersion, close: func() error {
		return errors.Join(file.Close(), remove())
	}}, nil
}

// backupOptions are for reading a copy beside a store that is working.
func backupOptions(dir string) kv.Options {
	return kv.Options{Dir: dir, CacheBytes: 32 << 20, MemTableBytes: 4 << 20}
}

func summarize(dir string) (offline.Summary, error) {
	backup, err := offline.OpenBackup(backupOptions(dir))
	if err != nil {
		return offline.Summary{}, err
	}
	return backup.Summary(), backup.Close()
}

// writeEtcd writes the copy in dir as an etcd database, with the group's members as they are now.
func (m *Member) writeEtcd(ctx context.Context, dir, temp, path string) error {
	servers := m.servers()
	return writeEtcd(ctx, dir, temp, path, m.disk.BackupRoom, func(c *etcdfile.Contents) {
		members := c.Members[:0]
		for _, member := range c.Members {
			server, known := membership.Find(servers, membership.ServerID(member.ID))
			if known {
				member.IsLearner = server.Suffrage != raft.Voter
				members = append(members, member)
			}
		}
		c.Members = members
	})
}

// writeEtcd writes the copy in dir as an etcd database. Of a disk that a member works on, roomFor leaves enough.
func writeEtcd(ctx context.Context, dir, temp, path string, roomFor func(atLeast int64) (offline.Room, error), adjust func(*etcdfile.Contents)) (err error) {
	backup, err := offline.OpenBackup(backupOptions(dir))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, backup.Close()) }()
	var room offline.Room
	if roomFor != nil { // no such database is smaller than what lives in it
		if room, err = roomFor(backup.Summary().LiveBytes); err != nil {
			return err
		}
	}
	contents, err := backup.Contents()
	if err != nil {
		return err
	}
	adjust(contents)
	w, err := etcdfile.Create(path)
	if err != nil {
		return err
	}
	if err := backup.Records(ctx, temp, room, w.Record); err != nil {
		return errors.Join(err, w.Abort())
	}
	return w.Finish(contents)
}
