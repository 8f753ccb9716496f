package raftstore

import (
	"context"
	"errors"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/propose"
)

// revokeRetry is when a revocation that failed is tried again.
const revokeRetry = 500 * time.Millisecond

// expireLeases has leases revoked whose time is over, a batch in one group of commands. The next batch waits
// until that one is applied, so that a crowd of leases which expires together leaves room for writes.
func (m *Member) expireLeases(ctx context.Context, lessor *kv.Lessor) {
	for {
		select {
		case expired := <-lessor.Expired():
			failed := m.revoke(ctx, expired)
			if len(failed) > 0 {
				lessor.Retry(failed, revokeRetry)
			}
			m.instruments.leasesExpired(len(expired) - len(failed))
		case <-ctx.Done():
			return
		}
	}
}

// revoke returns the leases whose revocation was not applied, as far as is known.
//
// This member proves first that it leads. The clock of one that was stopped for a while, and replaced, has
// run on, and its proposals might still reach the log.
func (m *Member) revoke(ctx context.Context, expired []int64) (failed []int64) {
	if _, err := m.leaderRounds.Join(ctx); err != nil {
		return expired
	}
	var mu sync.Mutex
	var left sync.WaitGroup
	left.Add(len(expired))
	group := make([]*propose.Proposal, 0, len(expired))
	for _, id := range expired {
		command := kv.Command{LeaseRevoke: &pb.LeaseRevokeRequest{ID: id}}
		done := func(result kv.Result, err error) {
			defer left.Done()
			if err := firstError(err, result.Err); err != nil && !errors.Is(err, kv.ErrLeaseNotFound) {
				mu.Lock()
				defer mu.Unlock()
				failed = append(failed, id)
			}
		}
		encoded, err := command.Append(nil)
		if err != nil {
			done(kv.Result{}, err)
			continue
		}
		group = append(group, &propose.Proposal{
			// Not forwarded: another leader has a lessor of its own, in which the lease may live on.
			Context: ctx, Command: command, Encoded: encoded, Here: true, Done: done,
			Expires: m.config.Clock.Now().Add(m.config.RequestTimeout),
		})
	}
	m.proposer.ProposeAll(group)
	left.Wait()
	return failed
}
