package bench

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// A batch of keys is written in one transaction: as many as etcd allows less some, and no more bytes than make a
// message that servers like.
const (
	fillOps   = 100
	fillBytes = 256 << 10
	// fillClients is how many transactions are under way at a time, fillPatience how often one is tried again.
	fillClients  = 16
	fillPatience = 50
)

// Fill writes keys 0 to n-1 of the key space, each as often as versions says, with values of the run's size, in large
// transactions: it is there to have data, not to be measured. It returns the revision that it came to.
func (r *Run) Fill(ctx context.Context, n, versions int) (revision int64, err error) {
	if err := r.Connect(); err != nil {
		return 0, err
	}
	perBatch := min(fillOps, max(1, fillBytes/(r.KeySize+r.ValueSize)))
	batches := (n + perBatch - 1) / perBatch
	began := r.Clock.Now()
	r.Say("writing %s × %d of %d + %d bytes …", plural(n, "key"), versions, r.KeySize, r.ValueSize)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var next, last atomic.Int64
	var fillers sync.WaitGroup
	for client := range fillClients {
		fillers.Go(func() {
			p := r.Payload(client)
			for i := int(next.Add(1)) - 1; i < batches*versions && ctx.Err() == nil; i = int(next.Add(1)) - 1 {
				from := i % batches * perBatch
				rev, err := r.putBatch(ctx, client, p, from, min(from+perBatch, n))
				if err != nil {
					cancel(fmt.Errorf("write keys to start with: %w", err))
					return
				}
				raise(&last, rev)
			}
		})
	}
	fillers.Wait()
	r.Figure("fill_seconds", r.Clock.Since(began).Seconds())
	return last.Load(), context.Cause(ctx)
}

// putBatch writes the keys from..to-1 in one transaction. It tries again when that fails: a cluster under a heavy load
// refuses some, and a key that is written twice is as good.
func (r *Run) putBatch(ctx context.Context, client int, p *Payload, from, to int) (revision int64, err error) {
	txn := &pb.TxnRequest{}
	for n := from; n < to; n++ {
		put := &pb.PutRequest{Key: r.key(n), Value: p.Value()}
		txn.Success = append(txn.Success, &pb.RequestOp{Request: &pb.RequestOp_RequestPut{RequestPut: put}})
	}
	for try := 0; try < fillPatience; try++ {
		var resp *pb.TxnResponse
		if resp, err = pb.NewKVClient(r.Conn(client)).Txn(ctx, txn); err == nil {
			return resp.Header.Revision, nil
		}
		if !r.sleep(ctx, time.Duration(try+1)*retryPause) {
			break
		}
	}
	return 0, err
}

// sleep waits for d; false if ctx ended first.
func (r *Run) sleep(ctx context.Context, d time.Duration) bool {
	t := r.Clock.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C():
		return true
	case <-ctx.Done():
		return false
	}
}

// raise sets a to value unless it is higher already.
func raise(a *atomic.Int64, value int64) {
	for seen := a.Load(); value > seen && !a.CompareAndSwap(seen, value); {
		seen = a.Load()
	}
}
