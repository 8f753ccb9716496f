package traffic

import (
	"context"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// What is done when the faults have ended, and no client asks any more. The cluster serves then.

// AwaitExpiry waits until all leases have ended, as nobody keeps them.
func (t *Traffic) AwaitExpiry(ctx context.Context, admin *clientv3.Client, patience time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		left, err := admin.Get(ctx, t.history.Prefix+"lease/", clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err == nil && left.Count == 0 {
			return nil
		}
		if err == nil {
			err = fmt.Errorf("%d keys of leases are still there", left.Count)
		}
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("%v after the last renewal of any lease: %w", patience, err)
		}
	}
}

// ReadAll reads all keys at each member, from a quorum and from the member alone.
func (t *Traffic) ReadAll(ctx context.Context) {
	for i, target := range t.config.Targets {
		c, err := newClient(-2-i, target, t.history, t.config.Seed)
		if err != nil {
			continue // the next target will do
		}
		for _, serializable := range []bool{false, true} {
			_ = c.get(ctx, &pb.RangeRequest{Key: []byte(t.history.Prefix), RangeEnd: rangeEnd(t.history.Prefix), Serializable: serializable})
		}
		c.close()
	}
}

// Mark makes the last write of the round, and returns its revision.
func (t *Traffic) Mark(ctx context.Context, admin *clientv3.Client) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	answer, err := admin.Put(ctx, t.history.Prefix+"end", "the end of "+t.history.Prefix)
	if err != nil {
		return 0, err
	}
	return answer.Header.Revision, nil
}
