package etcdv3

import (
	"testing"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func TestLease(t *testing.T) {
	c, ctx := newClient(t), t.Context()
	lease, err := c.Grant(ctx, 60)
	if err != nil || lease.TTL != 60 {
		t.Fatal(lease, err)
	}
	for _, k := range []string{"a", "b"} {
		if _, err := c.Put(ctx, k, "v", clientv3.WithLease(lease.ID)); err != nil {
			t.Fatal(err)
		}
	}
	alive, err := c.KeepAliveOnce(ctx, lease.ID)
	if err != nil || alive.TTL != 60 || alive.ResponseHeader.GetMemberId() != localID {
		t.Errorf("keepalive: %v, %v", alive, err)
	}
	ttl, err := c.TimeToLive(ctx, lease.ID, clientv3.WithAttachedKeys())
	if err != nil || ttl.TTL != 60 || ttl.GrantedTTL != 60 || len(ttl.Keys) != 2 {
		t.Errorf("time to live: %v, %v", ttl, err)
	}
	if all, err := c.Leases(ctx); err != nil || len(all.Leases) != 1 || all.Leases[0].ID != lease.ID {
		t.Errorf("leases: %v, %v", all, err)
	}
	stream, err := c.KeepAlive(ctx, lease.ID)
	if err != nil {
		t.Fatal(err)
	}
	if r := <-stream; r == nil || r.TTL != 60 {
		t.Errorf("keepalive stream: %v", r)
	}
	if _, err := c.Revoke(ctx, lease.ID); err != nil {
		t.Fatal(err)
	}
	if got, err := c.Get(ctx, "a"); err != nil || got.Count != 0 {
		t.Errorf("key of a revoked lease: %v, %v", got, err)
	}
	if gone, err := c.TimeToLive(ctx, lease.ID); err != nil || gone.TTL != -1 {
		t.Errorf("time to live of a revoked lease: %v, %v", gone, err)
	}
	if _, err := c.KeepAliveOnce(ctx, lease.ID); err == nil {
		t.Error("a revoked lease was kept alive")
	}
}

// A lease that is gone is answered with a time to live of zero, and the stream goes on.
func TestKeepAliveOfUnknownLease(t *testing.T) {
	conn := newClient(t).ActiveConnection()
	stream, err := pb.NewLeaseClient(conn).LeaseKeepAlive(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: 99}); err != nil {
			t.Fatal(err)
		}
		if r, err := stream.Recv(); err != nil || r.TTL != 0 || r.ID != 99 {
			t.Fatal(r, err)
		}
	}
}
