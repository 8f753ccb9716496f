package traffic

import (
	"context"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// leaseTTL is what leases are asked for, in seconds: the least that the store grants.
const leaseTTL = 2

// Lease is the life of a lease as its client knows it.
type Lease struct {
	ID  int64
	Key string
	// Promises are those that the lease lives, each with an answer.
	Promises []Promise
	// Revoking is when it was first asked to be revoked, Revoked when that was confirmed; 0: never.
	Revoking, Revoked time.Duration
	// Attached is when the write of its key was confirmed; 0: never.
	Attached time.Duration
}

// Promise is that a lease lives for TTL from some moment between Call and Return on.
type Promise struct {
	Member       int
	Call, Return time.Duration
	TTL          time.Duration
}

// useLeases grants leases, keeps them for a while, and leaves them to expire or revokes them.
func (c *client) useLeases(ctx context.Context) {
	leases := pb.NewLeaseClient(c.conn)
	for n := 0; c.pause(ctx, 200*time.Millisecond); n++ {
		if l := c.grant(ctx, leases, n); l != nil {
			c.keep(ctx, leases, l)
			c.history.addLease(l)
		}
	}
}

func (c *client) grant(ctx context.Context, leases pb.LeaseClient, n int) *Lease {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	l := &Lease{Key: fmt.Sprintf("%slease/%d-%d", c.history.Prefix, c.number, n)}
	called := c.history.Now()
	response, err := leases.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: leaseTTL})
	if err != nil {
		return nil
	}
	l.ID = response.ID
	l.promise(c, called, response.TTL)
	r := &pb.PutRequest{Key: []byte(l.Key), Value: c.value(), Lease: l.ID}
	if _, err := record(ctx, c, r, func(ctx context.Context) (*pb.PutResponse, error) { return c.kv.Put(ctx, r) }); err == nil {
		l.Attached = c.history.Now()
	}
	return l
}

func (l *Lease) promise(c *client, called time.Duration, ttl int64) {
	l.Promises = append(l.Promises, Promise{c.target.Number, called, c.history.Now(), time.Duration(ttl) * time.Second})
}

// keep renews a lease for a random time.
func (c *client) keep(ctx context.Context, leases pb.LeaseClient, l *Lease) {
	until := c.history.Now() + time.Duration(c.random.Int64N(int64(8*time.Second)))
	for c.history.Now() < until && c.pause(ctx, 150*time.Millisecond) {
		if gone := c.renew(ctx, leases, l); gone {
			return
		}
	}
	if c.random.IntN(3) == 0 {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
		defer cancel()
		l.Revoking = c.history.Now()
		if _, err := leases.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: l.ID}); err == nil {
			l.Revoked = c.history.Now()
		}
	}
}

// renew renews a lease once. It returns whether the lease is gone.
func (c *client) renew(ctx context.Context, leases pb.LeaseClient, l *Lease) (gone bool) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	stream, err := leases.LeaseKeepAlive(ctx)
	if err != nil {
		return false
	}
	called := c.history.Now()
	if stream.Send(&pb.LeaseKeepAliveRequest{ID: l.ID}) != nil {
		return false
	}
	response, err := stream.Recv()
	if err != nil {
		return false
	}
	if response.TTL <= 0 {
		return true
	}
	l.promise(c, called, response.TTL)
	return false
}
