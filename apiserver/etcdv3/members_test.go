package etcdv3

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/pki"
	"github.com/ctlplane/ctlplane/raftstore"
)

// servedMember is a member of a group, served over gRPC.
type servedMember struct {
	*raftstore.Member
	address string
	closed  sync.Once
}

func (m *servedMember) HasLeader() bool { return m.Status().Leader != 0 }

func (m *servedMember) close(t testing.TB) {
	m.closed.Do(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		if err := m.Member.Close(ctx); err != nil {
			t.Error(err)
		}
	})
}

// startMembers starts a group of n members in this process, with TLS between them and plain text towards clients.
func startMembers(t testing.TB, n int) []*servedMember {
	t.Helper()
	_, members := startMembersOf(t, n)
	return members
}

// startMembersOf is startMembers, with the authority that further members have to be of.
func startMembersOf(t testing.TB, n int) (*pki.CA, []*servedMember) {
	t.Helper()
	ca, err := pki.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	var members []*servedMember
	for i := range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		name, address := fmt.Sprint("m", i), l.Addr().String()
		id := raftstore.Identity{ClusterID: 1, MemberID: 100, Name: name, PeerAddress: address, ClientAddress: address, Creator: i == 0}
		if i > 0 {
			id.MemberID, err = members[0].AddMember(t.Context(), raftstore.NewMember{Name: name, PeerAddress: address, ClientAddress: address})
			if err != nil {
				t.Fatal(err)
			}
		}
		m := &servedMember{Member: openMember(t, ca, id, l)}
		t.Cleanup(func() { m.close(t) })
		m.address = serve(t, m, ServerConfig{}, Options{})
		until(t, "a leader", m.HasLeader)
		until(t, "a vote", func() bool { return !m.Status().IsLearner })
		members = append(members, m)
	}
	return ca, members
}

func openMember(t testing.TB, ca *pki.CA, id raftstore.Identity, l net.Listener) *raftstore.Member {
	t.Helper()
	certPEM, keyPEM, err := ca.IssuePair(pki.PeerLeaf(id.Name, "127.0.0.1"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	source, err := pki.NewSource(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	m, err := raftstore.Open(raftstore.Config{
		Identity: id, DataDir: t.TempDir(), Listener: l, Source: source, CA: ca,
		HeartbeatTimeout: 5 * time.Second, // a busy machine must not be taken for a leader that is gone
	})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// until polls a condition of something that offers nothing to wait on.
func until(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(60 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatal("waited in vain for ", what)
		case <-tick.C:
		}
	}
}

// Whichever member a client talks to, it is the same store.
func TestMembersServeOneStore(t *testing.T) {
	members := startMembers(t, 3)
	var clients []*clientv3.Client
	for _, m := range members {
		clients = append(clients, connect(t, m.address))
	}
	ctx := t.Context()
	watch := clients[2].Watch(clientv3.WithRequireLeader(ctx), "k", clientv3.WithPrefix(), clientv3.WithRev(1))
	for i, c := range clients {
		put, err := c.Put(ctx, fmt.Sprint("k", i), "v")
		if err != nil || put.Header.MemberId != members[i].Status().ID {
			t.Fatal(put, err)
		}
		for j, other := range clients {
			got, err := other.Get(ctx, "k", clientv3.WithPrefix())
			if err != nil || got.Count != int64(i)+1 {
				t.Fatalf("put at %d, get at %d: %v, %v", i, j, got, err)
			}
		}
	}
	take(t, watch, 3)
	lease, err := clients[1].Grant(ctx, 30)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := clients[2].Put(ctx, "leased", "v", clientv3.WithLease(lease.ID)); err != nil {
		t.Fatal(err)
	}
	for i, c := range clients {
		if r, err := c.KeepAliveOnce(ctx, lease.ID); err != nil || r.TTL != 30 {
			t.Errorf("keepalive at %d: %v, %v", i, r, err)
		}
		if r, err := c.TimeToLive(ctx, lease.ID, clientv3.WithAttachedKeys()); err != nil || len(r.Keys) != 1 || r.TTL < 25 {
			t.Errorf("time to live at %d: %v, %v", i, r, err)
		}
		if list, err := c.MemberList(ctx); err != nil || len(list.Members) != 3 {
			t.Errorf("members at %d: %v, %v", i, list, err)
		}
		swap, err := c.Txn(ctx).If(clientv3.Compare(clientv3.Value("swap"), "=", fmt.Sprint(i))).
			Then(clientv3.OpPut("swap", fmt.Sprint(i+1))).Else(clientv3.OpPut("swap", "1")).Commit()
		if err != nil || swap.Succeeded != (i > 0) {
			t.Errorf("transaction at %d: %v, %v", i, swap, err)
		}
	}
}

// Writers that go on while the leader leaves lose no acknowledged write, and reads are tried again elsewhere.
func TestMembersLeaderLeaves(t *testing.T) {
	members := startMembers(t, 3)
	var endpoints []string
	leader := members[0]
	for _, m := range members {
		endpoints = append(endpoints, m.address)
		if s := m.Status(); s.Leader == s.ID {
			leader = m
		}
	}
	c, err := client.Connect(t.Context(), client.Config{Endpoints: endpoints, Insecure: true, DialTimeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	acknowledged := 0
	for i := 0; acknowledged < 300; i++ {
		if i == 100 {
			leader.close(t)
		}
		switch _, err := c.KV().Put(t.Context(), fmt.Sprintf("k%06d", acknowledged), "v"); {
		case err == nil:
			acknowledged++
		case errors.Is(err, rpctypes.ErrNoLeader), errors.Is(err, rpctypes.ErrStopped), errors.Is(err, rpctypes.ErrTimeoutDueToLeaderFail):
		default:
			t.Fatal(err)
		}
	}
	got, err := c.KV().Get(t.Context(), "k", clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil || got.Count != 300 {
		t.Errorf("%d of 300 acknowledged writes, %v", got.Count, err)
	}
}

func TestMembersPipeline(t *testing.T) {
	members := startMembers(t, 3)
	for i, m := range members {
		c, p := openPipeline(t, m.address)
		var pending []*client.Pending
		for j := range 2000 {
			pending = append(pending, p.Put(fmt.Appendf(nil, "%d/%04d", i, j), []byte("v")))
		}
		last := int64(0)
		for j, w := range pending {
			rev, err := w.Wait(t.Context())
			if err != nil || rev <= last {
				t.Fatalf("write %d at member %d: revision %d after %d, %v", j, i, rev, last, err)
			}
			last = rev
		}
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		got, err := c.KV().Get(t.Context(), fmt.Sprint(i, "/"), clientv3.WithPrefix(), clientv3.WithCountOnly())
		if err != nil || got.Count != 2000 {
			t.Errorf("%v, %v", got, err)
		}
	}
}

// Pipelined writes that go on while the leader leaves: what was acknowledged is there, and everything was answered.
func TestMembersLeaderLeavesUnderPipeline(t *testing.T) {
	members := startMembers(t, 3)
	var leader, follower *servedMember
	for _, m := range members {
		if s := m.Status(); s.Leader == s.ID {
			leader = m
		} else {
			follower = m
		}
	}
	c, p := openPipeline(t, follower.address)
	const writes = 20_000
	var acknowledged, unknown []int
	answers := make(chan int, writes)
	outcome := make([]error, writes)
	for i := range writes {
		if i == writes/4 {
			go leader.close(t)
		}
		p.PutFunc(fmt.Appendf(nil, "k%05d", i), []byte("v"), func(_ int64, err error) {
			outcome[i] = err
			answers <- i
		})
	}
	for range writes {
		switch i := <-answers; {
		case outcome[i] == nil:
			acknowledged = append(acknowledged, i)
		case errors.Is(outcome[i], client.ErrOutcomeUnknown):
			unknown = append(unknown, i)
		default:
			t.Errorf("write %d: %v", i, outcome[i])
		}
	}
	got, err := c.KV().Get(t.Context(), "k", clientv3.WithPrefix(), clientv3.WithKeysOnly())
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for _, k := range got.Kvs {
		there[string(k.Key)] = true
	}
	for _, i := range acknowledged {
		if !there[fmt.Sprintf("k%05d", i)] {
			t.Errorf("write %d was acknowledged and is not there", i)
		}
	}
	if len(acknowledged) < writes/4 {
		t.Errorf("%d acknowledged, %d unknown of %d", len(acknowledged), len(unknown), writes)
	}
	leader.close(t)
}
