// Package offlinetest makes etcd's files of stores, and stores of etcd's files, for tests.
package offlinetest

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/kv/etcdfile"
	"github.com/ctlplane/ctlplane/kv/offline"
)

// Export writes a store's state to a file in dir, by way of a checkpoint, as a running member does. The checkpoint is what options
// o open; their file system is the store's.
func Export(s *kv.Store, o kv.Options, dir string) (path string, err error) {
	if err := s.Checkpoint(o.Dir); err != nil {
		return "", err
	}
	b, err := offline.OpenBackup(o)
	if err != nil {
		return "", err
	}
	defer b.Close()
	contents, err := b.Contents()
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, "db")
	w, err := etcdfile.Create(path)
	if err != nil {
		return "", err
	}
	if err := b.Records(context.Background(), filepath.Join(dir, "sorting"), nil, w.Record); err != nil {
		return "", errors.Join(err, w.Abort())
	}
	return path, w.Finish(contents)
}

// Import makes a store of an etcd's file.
func Import(path string, o kv.Options) error {
	return ReadFile(path, func(r *etcdfile.Reader) error { return offline.ImportEtcd(context.Background(), o, r) })
}

// ReadFile has read read an etcd's file.
func ReadFile(path string, read func(*etcdfile.Reader) error) error {
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	r, err := etcdfile.NewReader(file, info.Size())
	if err != nil {
		return err
	}
	return read(r)
}
