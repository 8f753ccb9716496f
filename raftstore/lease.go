package raftstore

import (
	"context"
	"errors"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/broken"
	"github.com/ctlplane/ctlplane/kv"
	"github.com/ctlplane/ctlplane/raftstore/failure"
	"github.com/ctlplane/ctlplane/raftstore/propose"
)

// LeaseGrant grants a lease; without an ID in the request it chooses one.
func (m *Member) LeaseGrant(ctx context.Context, r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	return apply[*pb.LeaseGrantResponse](ctx, m, kv.Command{LeaseGrant: r})
}

// LeaseRevoke revokes a lease and deletes its keys.
func (m *Member) LeaseRevoke(ctx context.Context, r *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	return apply[*pb.LeaseRevokeResponse](ctx, m, kv.Command{LeaseRevoke: r})
}

// LeaseKeepAlive gives a lease its full time again and returns that, in seconds. The leader counts it; nothing
// goes through the log unless the lease has a checkpoint. The answer to a lease that has expired comes once
// it is revoked: kv.ErrLeaseNotFound.
func (m *Member) LeaseKeepAlive(ctx context.Context, id int64) (ttl int64, err error) {
	err = m.atLeader(ctx, func(ctx context.Context, now propose.Route) error {
		if now.Here {
			ttl, err = m.renewHere(ctx, id)
		} else {
			ttl, err = m.renewals.Renew(ctx, now, id)
		}
		return err
	})
	return ttl, err
}

// renewHere renews a lease on the leader, who proves first that he is it: a leader that was replaced and does
// not know yet must not tell a client that its lease lives. Whoever leads next was elected after the proof,
// and gives the lease all the time that the client is told, or more.
func (m *Member) renewHere(ctx context.Context, id int64) (int64, error) {
	if broken.Is(broken.KeepaliveWithoutProof) {
		return m.renewProved(ctx, id)
	}
	index, err := m.leaderRounds.Join(ctx)
	if err != nil {
		return 0, err
	}
	ttl, err := m.renewProved(ctx, id)
	if errors.Is(err, kv.ErrLeaseNotFound) && m.machine.Store().AppliedIndex() < index {
		// It may be granted by what is not applied yet. All others need not wait.
		if err := m.machine.WaitApplied(ctx, index); err != nil {
			return 0, err
		}
		ttl, err = m.renewProved(ctx, id)
	}
	return ttl, err
}

func (m *Member) renewProved(ctx context.Context, id int64) (int64, error) {
	lessor := m.lessor.Load()
	if lessor == nil {
		return 0, failure.ErrNotLeading
	}
	ttl, err := lessor.Renew(ctx, id, func(full kv.Checkpoint) error { return m.recordNow(ctx, full) })
	if errors.Is(err, kv.ErrNotPromoted) {
		err = failure.ErrNotLeading
	}
	if err == nil {
		m.instruments.leaseRenewed()
	}
	return ttl, err
}

// recordNow has a checkpoint applied. It is proposed here or not at all: another leader counts for itself.
func (m *Member) recordNow(ctx context.Context, checkpoints ...kv.Checkpoint) error {
	done := make(chan error, 1)
	m.submit(ctx, kv.CheckpointCommand(checkpoints...), true, func(result kv.Result, err error) {
		done <- firstError(err, result.Err)
	})
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// recordCheckpoints queues checkpoints for the log, for a lessor. Nobody waits for them.
func (m *Member) recordCheckpoints(checkpoints []kv.Checkpoint) {
	m.submit(m.life, kv.CheckpointCommand(checkpoints...), true, func(_ kv.Result, err error) {
		if err != nil {
			m.logger.Debug("the time left of leases was not recorded", "leases", len(checkpoints), "error", err)
		}
	})
}

// handOverLeases has it recorded what is left of leases, for the leader that is about to follow this one. It
// returns once that is applied.
func (m *Member) handOverLeases(ctx context.Context) {
	lessor := m.lessor.Load()
	if lessor == nil {
		return
	}
	lessor.HandOver()
	// An empty one behind the others: when it is applied, so are they.
	if err := m.recordNow(ctx); err != nil {
		m.logger.Info("the time left of leases was not handed over; some live longer for it", "error", err)
	}
}

// LeaseTimeToLive tells what is left of a lease, in whole seconds. A lease that does not exist has a TTL of -1.
func (m *Member) LeaseTimeToLive(ctx context.Context, r *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	response := &pb.LeaseTimeToLiveResponse{ID: r.ID}
	err := m.atLeader(ctx, func(ctx context.Context, now propose.Route) (err error) {
		if now.Here {
			response.TTL, response.GrantedTTL, err = m.remainingHere(ctx, r.ID)
		} else {
			response.TTL, response.GrantedTTL, err = m.peers.TimeToLive(ctx, now.Leader, r.ID)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if r.Keys && response.TTL >= 0 {
		if err := m.LinearizableRead(ctx); err != nil {
			return nil, err
		}
		if err := m.machine.WithStore(func(store *kv.Store) (err error) {
			response.Keys, err = store.LeaseKeys(r.ID)
			return err
		}); err != nil {
			return nil, err
		}
	}
	m.completeHeader(response)
	return response, nil
}

func (m *Member) remainingHere(ctx context.Context, id int64) (ttl, granted int64, err error) {
	index, err := m.leaderRounds.Join(ctx)
	if err != nil {
		return 0, 0, err
	}
	if err := m.machine.WaitApplied(ctx, index); err != nil {
		return 0, 0, err
	}
	lessor := m.lessor.Load()
	if lessor == nil {
		return 0, 0, failure.ErrNotLeading
	}
	granted, ok := m.machine.Store().LeaseTTL(id)
	remaining, counted := lessor.Remaining(id)
	if !ok || !counted {
		return -1, 0, nil
	}
	return max(int64(remaining/time.Second), 0), granted, nil
}

// LeaseLeases lists the leases, linearizably.
func (m *Member) LeaseLeases(ctx context.Context) (*pb.LeaseLeasesResponse, error) {
	if err := m.LinearizableRead(ctx); err != nil {
		return nil, err
	}
	return read(ctx, m, func(store *kv.Store) (*pb.LeaseLeasesResponse, error) {
		return &pb.LeaseLeasesResponse{Leases: store.Leases()}, nil
	})
}
