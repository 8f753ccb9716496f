package client

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path/filepath"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc/metadata"

	"github.com/ctlplane/ctlplane/api/snapshot"
	"github.com/ctlplane/ctlplane/durable"
)

// SavedSnapshot tells about a snapshot that was saved.
type SavedSnapshot struct {
	Bytes int64 // checksum included
	// Version is that of the content, as its server names it.
	Version string
}

// SaveSnapshot writes the state of the one member that kv is connected to into a file, which must not exist, in one
// of the formats of package snapshot. The file is there as a whole, its checksum verified, or not at all. progress,
// which may be nil, is told how many bytes have come of how many.
func SaveSnapshot(ctx context.Context, kv *clientv3.Client, path, format string, progress func(done, total int64)) (saved SavedSnapshot, err error) {
	if _, err := os.Lstat(path); err == nil {
		return saved, fmt.Errorf("%s: %w: choose another name, or remove it", path, os.ErrExist)
	}
	stream, err := pb.NewMaintenanceClient(kv.ActiveConnection()).Snapshot(
		metadata.AppendToOutgoingContext(ctx, snapshot.FormatKey, format), &pb.SnapshotRequest{})
	if err != nil {
		return saved, err
	}
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.part")
	if err != nil {
		return saved, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.Remove(file.Name()))
		}
	}()
	saved, err = receiveSnapshot(stream, file, progress)
	if err == nil {
		err = file.Sync()
	}
	if err := errors.Join(err, file.Close()); err != nil {
		return saved, err
	}
	return saved, durable.Rename(file.Name(), path)
}

func receiveSnapshot(stream pb.Maintenance_SnapshotClient, to io.Writer, progress func(done, total int64)) (SavedSnapshot, error) {
	var saved SavedSnapshot
	check := trailingSum{sum: sha256.New()}
	for {
		message, err := stream.Recv()
		if err == io.EOF {
			return saved, check.err()
		}
		if err != nil {
			return saved, err
		}
		if _, err := to.Write(message.Blob); err != nil {
			return saved, err
		}
		check.write(message.Blob)
		saved.Bytes += int64(len(message.Blob))
		saved.Version = message.Version
		if progress != nil {
			progress(saved.Bytes, saved.Bytes+int64(message.RemainingBytes))
		}
	}
}

// trailingSum compares the checksum that ends a stream with that of all before it.
type trailingSum struct {
	sum  hash.Hash
	tail []byte // what may be the checksum
}

func (t *trailingSum) write(p []byte) {
	t.tail = append(t.tail, p...)
	if before := len(t.tail) - snapshot.ChecksumSize; before > 0 {
		t.sum.Write(t.tail[:before])
		t.tail = append(t.tail[:0], t.tail[before:]...)
	}
}

func (t *trailingSum) err() error {
	if !bytes.Equal(t.tail, t.sum.Sum(nil)) {
		return errors.New("the snapshot's checksum does not fit: it was damaged on the way, try again")
	}
	return nil
}
