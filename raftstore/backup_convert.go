package raftstore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/ctlplane/ctlplane/durable"
	"github.com/ctlplane/ctlplane/kv/etcdfile"
	"github.com/ctlplane/ctlplane/raftstore/archive"
)

// ConvertBackup writes a backup in our own format anew as one in etcd's, with its checksum. It takes room for
// both beside the new file, which is there as a whole or not at all.
func ConvertBackup(ctx context.Context, from, to string, progress Progress) (err error) {
	if _, err := os.Lstat(to); err == nil {
		return fmt.Errorf("%s: %w", to, os.ErrExist)
	}
	file, err := openBackupFile(from)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if file.format != BackupNative {
		return fmt.Errorf("%s is not in our own format: a snapshot in etcd's needs no conversion", from)
	}
	if err := file.verify(ctx, false, progress); err != nil {
		return err
	}
	temp, err := os.MkdirTemp(filepath.Dir(to), "."+filepath.Base(to)+".*.tmp")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	dir, path := filepath.Join(temp, "data"), filepath.Join(temp, "db")
	if err := archive.Unpack(contextReader{ctx, io.NewSectionReader(file, 0, file.size)}, dir); err != nil {
		return fmt.Errorf("%w: %w", ErrNotBackup, err)
	}
	if err := writeEtcd(ctx, dir, filepath.Join(temp, "sorting"), path, nil, func(*etcdfile.Contents) {}); err != nil {
		return err
	}
	if err := appendChecksum(path); err != nil {
		return err
	}
	return durable.Rename(path, to)
}

func appendChecksum(path string) (err error) {
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return err
	}
	if _, err := file.Write(sum.Sum(nil)); err != nil {
		return err
	}
	return file.Sync()
}
