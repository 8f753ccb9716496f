package etcdv3

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io"
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/ctlplane/ctlplane/api/snapshot"
)

// TestSnapshotStream: content in the asked format, what is left of it in each message, and its checksum in the last.
func TestSnapshotStream(t *testing.T) {
	c := pb.NewMaintenanceClient(newClient(t).ActiveConnection())
	for asked, want := range map[string]string{"": snapshot.FormatEtcd, snapshot.FormatEtcd: snapshot.FormatEtcd, snapshot.FormatNative: snapshot.FormatNative} {
		ctx := t.Context()
		if asked != "" {
			ctx = metadata.AppendToOutgoingContext(ctx, snapshot.FormatKey, asked)
		}
		content, last := receiveSnapshot(ctx, t, c)
		if !bytes.HasPrefix(content, []byte(want)) {
			t.Errorf("asked for %q: %.20q", asked, content)
		}
		if sum := sha256.Sum256(content); !bytes.Equal(last.Blob, sum[:]) || last.Version != "3.7.0" || last.RemainingBytes != 0 {
			t.Errorf("the last message is %v", last)
		}
	}
}

// receiveSnapshot returns all messages' content but the last one's, and that message.
func receiveSnapshot(ctx context.Context, t *testing.T, c pb.MaintenanceClient) (content []byte, last *pb.SnapshotResponse) {
	t.Helper()
	stream, err := c.Snapshot(ctx, &pb.SnapshotRequest{})
	if err != nil {
		t.Fatal(err)
	}
	for {
		m, err := stream.Recv()
		if err == io.EOF {
			return content, last
		}
		if err != nil {
			t.Fatal(err)
		}
		if last != nil {
			content = append(content, last.Blob...)
			if last.RemainingBytes != 0 && last.RemainingBytes != m.RemainingBytes+uint64(len(m.Blob)) {
				t.Errorf("%d bytes were left, then came %d, and %d are left", last.RemainingBytes, len(m.Blob), m.RemainingBytes)
			}
		}
		last = m
	}
}

func TestSnapshotOfUnknownFormat(t *testing.T) {
	c := pb.NewMaintenanceClient(newClient(t).ActiveConnection())
	stream, err := c.Snapshot(metadata.AppendToOutgoingContext(t.Context(), snapshot.FormatKey, "tar"), &pb.SnapshotRequest{})
	if err == nil {
		_, err = stream.Recv()
	}
	if status.Code(err) != codes.InvalidArgument {
		t.Error(err)
	}
}
