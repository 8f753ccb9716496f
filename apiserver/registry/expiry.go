package registry

import (
	"context"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"k8s.io/utils/clock"
)

const (
	// eventLifetime is how long an event is kept after it was last written.
	eventLifetime = time.Hour
	// leaseShare is how long one lease is given to new objects. They live that much longer at most, and
	// the store has one lease for all of that time's objects.
	leaseShare = time.Minute
)

// expiry gives objects that nobody deletes a lease, with which they go.
type expiry struct {
	storage Storage
	clock   clock.PassiveClock

	mu    sync.Mutex
	lease int64 // 0: none
	until time.Time
}

// current gives the lease for an object that is written now.
func (x *expiry) current(ctx context.Context) (int64, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	now := x.clock.Now()
	if x.lease != 0 && now.Before(x.until) {
		return x.lease, nil
	}
	granted, err := x.storage.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: int64((eventLifetime + leaseShare).Seconds())})
	if err != nil {
		return 0, err
	}
	x.lease, x.until = granted.ID, now.Add(leaseShare)
	return x.lease, nil
}

// lost says that the store doesn't know a lease any more.
func (x *expiry) lost(lease int64) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.lease == lease {
		x.lease = 0
	}
}
