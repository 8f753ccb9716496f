package raftstore

import (
	"context"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// deafPort is a member's port, which can be made to let nothing in. What the member itself sends out, and what is answered to that,
// does not come through it.
type deafPort struct {
	net.Listener
	// swallows: what comes in is lost without a word, as in a firewall that drops it. Else connections end.
	swallows bool
	deaf     atomic.Bool

	mu    sync.Mutex
	conns []*deafConn
}

func (p *deafPort) Accept() (net.Conn, error) {
	for {
		conn, err := p.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if p.deaf.Load() && !p.swallows {
			_ = conn.Close()
			continue
		}
		tracked := &deafConn{conn, p}
		p.mu.Lock()
		p.conns = append(p.conns, tracked)
		p.mu.Unlock()
		return tracked, nil
	}
}

// deafen has nothing come in any more.
func (p *deafPort) deafen(swallows bool) {
	p.swallows = swallows
	p.deaf.Store(true)
	if swallows {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, conn := range p.conns {
		_ = conn.Close()
	}
}

type deafConn struct {
	net.Conn
	port *deafPort
}

func (c *deafConn) Read(p []byte) (int, error) {
	for {
		n, err := c.Conn.Read(p)
		if err != nil || !c.port.deaf.Load() {
			return n, err
		}
	}
}

func (c *deafConn) Write(p []byte) (int, error) {
	if c.port.deaf.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

// TestLeaderThatNobodyReaches: its heartbeats kept the others from electing one that they reach, and every call that they had to
// pass on to it failed, for as long as that lasted.
func TestLeaderThatNobodyReaches(t *testing.T) {
	for name, swallows := range map[string]bool{"connections end": false, "packets are dropped": true} {
		t.Run(name, func(t *testing.T) {
			c := newTestCluster(t, 3, func(config *Config) { config.RequestTimeout = testWait })
			leader, follower := c.leader(), c.follower()
			follower.put("key", "before")
			leader.port.deafen(swallows)
			leader.anotherLeads()
			follower.putAtLast("key", "after")
			follower.wantValue("key", "after")
			leader.hasNoLeader()
		})
	}
}

// TestLeaderThatAMinorityDoesNotReach: the others need its vote, and a change would help nobody.
func TestLeaderThatAMinorityDoesNotReach(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	leader, follower := c.leader(), c.follower()
	for _, m := range c.members {
		if m != leader && m != follower {
			m.stop()
		}
	}
	leader.put("key", "before")
	leader.port.deafen(false)
	if n := leader.unreachedBy(testContext(t)); n != 1 {
		t.Errorf("%d voters say that they don't reach the leader, want the one that runs", n)
	}
	if leader.unreachable(testContext(t)) {
		t.Error("a leader is to hand over that the others can't replace without its vote")
	}
	leader.put("key", "after")
}

// TestFollowerThatItsLeaderDoesNotReach: what it sends to the leader arrives and would be answered, but it has no leader.
func TestFollowerThatItsLeaderDoesNotReach(t *testing.T) {
	c := newTestCluster(t, 3, nil)
	leader, follower := c.leader(), c.follower()
	follower.put("key", "value")
	follower.wantValue("key", "value") // it has applied what it answered
	follower.port.deafen(true)
	follower.hasNoLeader()
	leader.put("key", "after")
}

// hasNoLeader waits until a member knows none, and checks what it answers then.
func (m *testMember) hasNoLeader() {
	t := m.cluster.t
	t.Helper()
	m.eventually("to have no leader", func() bool { return m.Status().Leader == 0 })
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := m.Range(ctx, &pb.RangeRequest{Key: []byte("key")}); err == nil {
		t.Error("a member without a leader answered a linearizable read")
	}
	if r, err := m.Range(testContext(t), &pb.RangeRequest{Key: []byte("key"), Serializable: true}); err != nil || len(r.Kvs) != 1 {
		t.Errorf("a serializable read: %v, %v", r, err)
	}
}
