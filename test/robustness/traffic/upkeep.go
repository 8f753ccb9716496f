package traffic

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// compact forgets history, time and again, but nothing that the recording watch has not seen.
func (c *client) compact(ctx context.Context, recorded func() int64) {
	for c.pause(ctx, 2*time.Second) {
		r := &pb.CompactionRequest{Revision: recorded() - c.random.Int64N(150), Physical: c.random.IntN(4) == 0}
		if r.Revision <= c.history.Start {
			continue
		}
		_, _ = record(context.WithoutCancel(ctx), c, r, func(ctx context.Context) (*pb.CompactionResponse, error) { return c.kv.Compact(ctx, r) })
	}
}

// save takes snapshots, time and again, and reads them to their ends.
func (c *client) save(ctx context.Context) {
	for c.pause(ctx, 6*time.Second) {
		asking, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		if err := c.snapshot(asking); err == nil {
			c.history.snapshots.Add(1)
		}
		cancel()
	}
}

func (c *client) snapshot(ctx context.Context) error {
	stream, err := pb.NewMaintenanceClient(c.conn).Snapshot(ctx, &pb.SnapshotRequest{})
	if err != nil {
		return err
	}
	for size := 0; ; {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) && size > 0 {
			return nil
		}
		if err != nil {
			return err
		}
		size += len(part.Blob)
	}
}

// list asks who is a member, time and again.
func (c *client) list(ctx context.Context) {
	members := pb.NewClusterClient(c.conn)
	for c.pause(ctx, time.Second) {
		r := &pb.MemberListRequest{Linearizable: c.random.IntN(2) == 0}
		_, _ = record(context.WithoutCancel(ctx), c, r, func(ctx context.Context) (*pb.MemberListResponse, error) { return members.MemberList(ctx, r) })
	}
}

// fill writes many keys, and deletes them in one revision, time and again.
func (c *client) fill(ctx context.Context) {
	const perTransaction = 120
	for n := 0; c.pause(ctx, 8*time.Second); n++ {
		prefix := fmt.Sprintf("%smany/%d/", c.history.Prefix, n)
		for i := 0; i < c.history.Many && ctx.Err() == nil; i += perTransaction {
			r := &pb.TxnRequest{}
			for j := range perTransaction {
				r.Success = append(r.Success, putOp(fmt.Sprintf("%s%06d", prefix, i+j), c.value()))
			}
			_, _ = c.transact(context.WithoutCancel(ctx), r)
		}
		r := &pb.DeleteRangeRequest{Key: []byte(prefix), RangeEnd: rangeEnd(prefix)}
		_, _ = record(context.WithoutCancel(ctx), c, r, func(ctx context.Context) (*pb.DeleteRangeResponse, error) { return c.kv.DeleteRange(ctx, r) })
	}
}
