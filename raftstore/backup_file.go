package raftstore

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"

	"github.com/ctlplane/ctlplane/api/snapshot"
	"github.com/ctlplane/ctlplane/kv/bboltfile"
	"github.com/ctlplane/ctlplane/kv/etcdfile"
	"github.com/ctlplane/ctlplane/raftstore/archive"
)

// ErrNotBackup is wrapped by the errors of a file that is no backup, or not a whole one.
var ErrNotBackup = errors.New("not a snapshot")

// BackupStatus is what can be told about a backup file.
type BackupStatus struct {
	Format BackupFormat `json:"format"`
	// Hash tells contents apart: as etcdutl has it for etcd's format, the CRC-32C of the archive for our own.
	Hash      uint32 `json:"hash"`
	Revision  int64  `json:"revision"`
	TotalKey  int64  `json:"totalKey"`
	TotalSize int64  `json:"totalSize"` // bytes
	Version   string `json:"version"`
}

// Progress is told how many of a work's bytes are done. It may be nil.
type Progress func(done, total int64)

func (p Progress) tell(done, total int64) {
	if p != nil {
		p(done, total)
	}
}

// backupFile is a backup file that is being read.
type backupFile struct {
	*os.File
	format BackupFormat
	size   int64 // without the checksum at its end
	summed bool  // there is one
}

// openBackupFile opens a file and tells by its content what it is.
func openBackupFile(path string) (_ *backupFile, err error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close())
		}
	}()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%w: %s is not a file", ErrNotBackup, path)
	}
	f := &backupFile{File: file, format: BackupEtcd, size: info.Size()}
	native, err := archive.Is(file)
	if err != nil {
		return nil, err
	}
	if native {
		f.format, f.summed = BackupNative, true
	} else {
		f.summed = etcdfile.HasChecksum(f.size)
	}
	return f, nil
}

// verify checks the checksum behind the content, and leaves it out of size.
func (f *backupFile) verify(ctx context.Context, skip bool, progress Progress) error {
	if !f.summed {
		if skip {
			return nil
		}
		return fmt.Errorf("%w: it has no checksum at its end: it was cut off, or copied out of a data directory; if it was copied from a server that had stopped, use --skip-hash-check", ErrNotBackup)
	}
	if skip {
		f.size -= snapshot.ChecksumSize
		return nil
	}
	done := int64(0)
	size, err := etcdfile.VerifyChecksum(ctx, f, f.size, func(n int) {
		done += int64(n)
		progress.tell(done, f.size)
	})
	if errors.Is(err, etcdfile.ErrChecksum) {
		return fmt.Errorf("%w: %w", ErrNotBackup, err)
	}
	f.size = size
	return err
}

// notBackup says of an error that the content is to blame for it.
func notBackup(err error) error {
	if errors.Is(err, bboltfile.ErrFormat) || errors.Is(err, etcdfile.ErrFormat) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: %w", ErrNotBackup, err)
	}
	return err
}

// InspectBackup reads a whole backup file of either format, checks its checksums and tells about it. With
// skipHash an etcd database without a checksum is accepted.
func InspectBackup(ctx context.Context, path string, skipHash bool, progress Progress) (_ BackupStatus, err error) {
	f, err := openBackupFile(path)
	if err != nil {
		return BackupStatus{}, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	if err := f.verify(ctx, skipHash, progress); err != nil {
		return BackupStatus{}, err
	}
	if f.format == BackupNative {
		return f.inspectNative()
	}
	r, err := etcdfile.NewReader(f, f.size)
	if err != nil {
		return BackupStatus{}, notBackup(err)
	}
	s, err := r.Status(ctx)
	return BackupStatus{
		Format: BackupEtcd, Hash: s.Hash, Revision: s.Revision, TotalKey: s.Keys, TotalSize: s.Bytes, Version: s.Version,
	}, notBackup(err)
}

func (f *backupFile) inspectNative() (BackupStatus, error) {
	header, err := archive.ReadHeader(io.NewSectionReader(f, 0, f.size))
	if err != nil {
		return BackupStatus{}, fmt.Errorf("%w: %w", ErrNotBackup, err)
	}
	if header.Backup == nil {
		return BackupStatus{}, fmt.Errorf("%w: it does not say what it holds", ErrNotBackup)
	}
	sum := crc32.New(crc32.MakeTable(crc32.Castagnoli))
	if _, err := io.Copy(sum, io.NewSectionReader(f, 0, f.size)); err != nil {
		return BackupStatus{}, err
	}
	return BackupStatus{
		Format: BackupNative, Hash: sum.Sum32(), Revision: header.Backup.Revision, TotalKey: header.Backup.Keys,
		TotalSize: f.size, Version: header.Backup.Version,
	}, nil
}
