package raftstore

import (
	"errors"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/kv"
)

func (m *testMember) grant(ttl int64) int64 {
	m.cluster.t.Helper()
	r, err := m.LeaseGrant(testContext(m.cluster.t), &pb.LeaseGrantRequest{TTL: ttl})
	if err != nil {
		m.cluster.t.Fatal(err)
	}
	return r.ID
}

func TestLeaseThroughAnyMember(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	for _, m := range []*testMember{c.leader(), c.follower()} {
		id := m.grant(100)
		if _, err := m.Put(testContext(t), &pb.PutRequest{Key: []byte("key"), Value: []byte("value"), Lease: id}); err != nil {
			t.Fatal(err)
		}
		if ttl, err := m.LeaseKeepAlive(testContext(t), id); err != nil || ttl != 100 {
			t.Errorf("keepalive: %d, %v", ttl, err)
		}
		r, err := m.LeaseTimeToLive(testContext(t), &pb.LeaseTimeToLiveRequest{ID: id, Keys: true})
		if err != nil || r.TTL < 90 || r.TTL > 100 || r.GrantedTTL != 100 || len(r.Keys) != 1 || r.Header.MemberId != m.config.Identity.MemberID {
			t.Errorf("time to live: %v, %v", r, err)
		}
		if _, err := m.LeaseRevoke(testContext(t), &pb.LeaseRevokeRequest{ID: id}); err != nil {
			t.Error(err)
		}
		m.wantValue("key", "")
		if _, err := m.LeaseKeepAlive(testContext(t), id); !errors.Is(err, kv.ErrLeaseNotFound) {
			t.Errorf("keepalive of a revoked lease: %v", err)
		}
		if r, err := m.LeaseTimeToLive(testContext(t), &pb.LeaseTimeToLiveRequest{ID: id}); err != nil || r.TTL != -1 {
			t.Errorf("time to live of a revoked lease: %v, %v", r, err)
		}
	}
}

// TestLeaseExpiresUnderTheNextLeader: the next leader counts anew, and revokes what the last one left.
func TestLeaseExpiresUnderTheNextLeader(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	leader, follower := c.leader(), c.follower()
	short, long := follower.grant(2), follower.grant(100)
	for lease, key := range map[int64]string{short: "short", long: "long"} {
		if _, err := follower.Put(testContext(t), &pb.PutRequest{Key: []byte(key), Value: []byte("value"), Lease: lease}); err != nil {
			t.Fatal(err)
		}
	}
	granted := time.Now()
	leader.stop()
	follower.wantValue("short", "value")
	eventually(t, "the lease to expire", func() bool { return follower.get("short") == "" })
	eventually(t, "one of those who are left to count it", func() bool {
		expired := 0.0
		for _, m := range c.members {
			if m != leader {
				expired += m.metrics()["etcd_debugging_server_lease_expired_total"]
			}
		}
		return expired == 1
	})
	if lived := time.Since(granted); lived < 2*time.Second {
		t.Errorf("a lease of 2 s lived for %v", lived)
	}
	follower.wantValue("long", "value")
	if r, err := follower.LeaseLeases(testContext(t)); err != nil || len(r.Leases) != 1 || r.Leases[0].ID != long {
		t.Errorf("leases: %v, %v", r, err)
	}
}
