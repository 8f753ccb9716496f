package raftstore

import (
	"context"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv"
)

// RangeStream reads keys as Range does, in chunks of about chunkBytes at one revision, and gives each to send, whose error
// ends it. It holds one chunk in memory. Only the last chunk has a header and the count.
func (m *Member) RangeStream(ctx context.Context, r *pb.RangeRequest, chunkBytes int, send func(*pb.RangeResponse) error) error {
	chunks, err := kv.NewRangeChunks(r, chunkBytes)
	if err != nil {
		return err
	}
	if !r.Serializable {
		if err := m.LinearizableRead(ctx); err != nil {
			return err
		}
	}
	if err := m.show(ctx); err != nil {
		return err
	}
	for !chunks.Done() {
		var chunk *pb.RangeResponse
		if err := m.machine.WithStore(func(store *kv.Store) (err error) {
			if err := store.Readable(); err != nil {
				return err
			}
			begun := m.config.Clock.Now()
			chunk, err = chunks.Next(ctx, store)
			m.instruments.scanned(m.config.Clock.Since(begun), err)
			return err
		}); err != nil {
			return err
		}
		if chunk.Header != nil {
			m.fillHeader(chunk.Header)
		}
		if err := send(chunk); err != nil {
			return err
		}
	}
	return nil
}
