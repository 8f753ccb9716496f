package etcdv3

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/ctlplane/ctlplane/api/snapshot"
	"github.com/ctlplane/ctlplane/apiserver/etcdv3/rpcerr"
	"github.com/ctlplane/ctlplane/raftstore"
)

// snapshotChunk is how much is sent in one message.
const snapshotChunk = 32 << 10

// Backups makes copies of a member's state.
type Backups interface {
	Backup(context.Context, raftstore.BackupFormat) (*raftstore.Backup, error)
}

// Snapshot sends the member's state of this moment, and behind it, in a message of its own, its SHA-256.
func (s *maintenanceServer) Snapshot(_ *pb.SnapshotRequest, stream pb.Maintenance_SnapshotServer) (err error) {
	format, err := snapshotFormat(stream.Context())
	if err != nil {
		return err
	}
	backup, err := s.store.Backup(stream.Context(), format)
	if err != nil {
		return rpcerr.ToStatus(err)
	}
	defer func() { err = errors.Join(err, backup.Close()) }()
	s.log.Info("sending a snapshot", "format", format, "bytes", backup.Size)
	sum := sha256.New()
	if err := sendSnapshot(stream, io.TeeReader(backup, sum), backup.Size, backup.Version); err != nil {
		return err
	}
	return stream.Send(&pb.SnapshotResponse{Blob: sum.Sum(nil), Version: backup.Version})
}

func snapshotFormat(ctx context.Context) (raftstore.BackupFormat, error) {
	asked := metadata.ValueFromIncomingContext(ctx, snapshot.FormatKey)
	if len(asked) == 0 {
		return raftstore.BackupEtcd, nil
	}
	switch format := raftstore.BackupFormat(asked[0]); format {
	case raftstore.BackupEtcd, raftstore.BackupNative:
		return format, nil
	}
	return "", status.Errorf(codes.InvalidArgument, "unknown snapshot format %q: %s or %s", asked[0], raftstore.BackupEtcd, raftstore.BackupNative)
}

func sendSnapshot(stream pb.Maintenance_SnapshotServer, content io.Reader, left int64, version string) error {
	for left > 0 {
		// A message may still be on its way when Send has returned: each has a buffer of its own.
		blob := make([]byte, min(left, snapshotChunk))
		if _, err := io.ReadFull(content, blob); err != nil {
			return rpcerr.ToStatus(err)
		}
		left -= int64(len(blob))
		if err := stream.Send(&pb.SnapshotResponse{RemainingBytes: uint64(left), Blob: blob, Version: version}); err != nil {
			return err
		}
	}
	return nil
}
