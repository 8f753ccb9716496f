package traffic

import (
	"context"
	"fmt"
	"sync"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// leaseTTL is what leases are asked for, in seconds: the least that the store grants.
const leaseTTL = 2

const (
	// longTTL is what leases are asked for that are revoked: more than any fault lasts, so that no member takes them for expired.
	longTTL = 20
	// afterRevocation is how long a lease is kept on after it was asked to be revoked.
	afterRevocation = 3 * time.Second
)

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
	// Renewal tells that the lease was renewed; a promise that is none was made with the grant.
	Renewal bool
}

// useLeases grants leases, keeps them for a while, and leaves them to expire or has them revoked at another member.
func (c *client) useLeases(ctx context.Context, elsewhere pb.LeaseClient) {
	leases := pb.NewLeaseClient(c.conn)
	for n := 0; c.pause(ctx, 200*time.Millisecond); n++ {
		revoke := c.random.IntN(2) == 0
		ttl := int64(leaseTTL)
		if revoke {
			ttl = longTTL
		}
		l := c.grant(ctx, leases, n, ttl)
		if l == nil {
			continue
		}
		k := &keeper{client: c, lease: l, until: c.history.Now() + time.Duration(c.random.Int64N(int64(4*time.Second)))}
		var revoking sync.WaitGroup
		if revoke {
			k.until += afterRevocation
			revoking.Go(func() { k.revoke(ctx, elsewhere) })
		}
		for k.goesOn(ctx) {
			k.keep(ctx, leases)
		}
		revoking.Wait()
		if revoke && l.Revoked == 0 {
			// It has to end soon, and nobody knows whether it will.
			k.revoke(context.WithoutCancel(ctx), elsewhere)
		}
		c.history.addLease(l)
	}
}

func (c *client) grant(ctx context.Context, leases pb.LeaseClient, n int, ttl int64) *Lease {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	l := &Lease{Key: fmt.Sprintf("%slease/%d-%d", c.history.Prefix, c.number, n)}
	called := c.history.Now()
	response, err := leases.LeaseGrant(ctx, &pb.LeaseGrantRequest{TTL: ttl})
	if err != nil {
		return nil
	}
	l.ID = response.ID
	l.promise(c, called, response.TTL, false)
	r := &pb.PutRequest{Key: []byte(l.Key), Value: c.value(), Lease: l.ID}
	if _, err := record(ctx, c, r, func(ctx context.Context) (*pb.PutResponse, error) { return c.kv.Put(ctx, r) }); err == nil {
		l.Attached = c.history.Now()
	}
	return l
}

func (l *Lease) promise(c *client, called time.Duration, ttl int64, renewal bool) {
	l.Promises = append(l.Promises, Promise{c.target.Number, called, c.history.Now(), time.Duration(ttl) * time.Second, renewal})
}

// keeper keeps a lease. It does not wait for one answer before it asks again, as clients do that renew by the clock.
type keeper struct {
	client *client
	until  time.Duration

	mu    sync.Mutex
	lease *Lease
	gone  bool // as an answer said
}

func (k *keeper) goesOn(ctx context.Context) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return ctx.Err() == nil && k.client.history.Now() < k.until && !k.gone
}

// keep keeps the lease by one stream, until that breaks or it has been kept for long enough.
func (k *keeper) keep(ctx context.Context, leases pb.LeaseClient) {
	streaming, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stream, err := leases.LeaseKeepAlive(streaming)
	if err != nil {
		k.client.pause(ctx, afterFailure)
		return
	}
	calls := make(chan time.Duration, atOnce)
	var receiving sync.WaitGroup
	receiving.Go(func() { k.receive(stream, calls) })
	for k.goesOn(ctx) && k.client.pause(ctx, 100*time.Millisecond) {
		select {
		case calls <- k.client.history.Now():
		default: // enough are on their way
			continue
		}
		if stream.Send(&pb.LeaseKeepAliveRequest{ID: k.lease.ID}) != nil {
			break
		}
	}
	_ = stream.CloseSend() // the answers that are due still come
	timeout := time.AfterFunc(patience, cancel)
	defer timeout.Stop()
	receiving.Wait()
}

// receive notes the answers of a stream, which come in the order of the requests.
func (k *keeper) receive(stream pb.Lease_LeaseKeepAliveClient, calls <-chan time.Duration) {
	for {
		response, err := stream.Recv()
		if err != nil {
			return
		}
		called := <-calls
		k.mu.Lock()
		if response.TTL > 0 {
			k.lease.promise(k.client, called, response.TTL, true)
		} else {
			k.gone = k.gone || k.lease.Revoking == 0
		}
		k.mu.Unlock()
	}
}

// revoke revokes the lease at another member, some time before it is not kept any more.
func (k *keeper) revoke(ctx context.Context, elsewhere pb.LeaseClient) {
	history := k.client.history
	select {
	case <-time.After(k.until - afterRevocation - history.Now()):
	case <-ctx.Done():
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	k.mu.Lock()
	if k.lease.Revoking == 0 {
		k.lease.Revoking = history.Now()
	}
	k.mu.Unlock()
	_, err := elsewhere.LeaseRevoke(ctx, &pb.LeaseRevokeRequest{ID: k.lease.ID})
	k.mu.Lock()
	defer k.mu.Unlock()
	if err == nil {
		k.lease.Revoked = history.Now()
	}
}
