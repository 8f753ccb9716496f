package raftstore

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"

	"github.com/ctlplane/ctlplane/pki"
)

const testWait = 60 * time.Second

// testCluster is a group of members over real sockets, in one process.
type testCluster struct {
	t       testing.TB
	dir     string
	ca      *pki.CA
	adjust  func(*Config)
	members []*testMember
}

type testMember struct {
	*Member
	cluster *testCluster
	config  Config
	address string
	port    *deafPort
}

func newTestCluster(t testing.TB, members int, adjust func(*Config)) *testCluster {
	t.Helper()
	ca, err := pki.NewCA("test", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	c := &testCluster{t: t, dir: t.TempDir(), ca: ca, adjust: adjust}
	t.Cleanup(c.close)
	for range members {
		c.add()
	}
	return c
}

func (c *testCluster) close() {
	for _, m := range c.members {
		m.stop()
	}
}

func testLogger(t testing.TB, name string) *slog.Logger {
	level := slog.LevelError
	if os.Getenv("CTLPLANE_TEST_LOG") != "" {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})).With("member", name, "test", t.Name())
}

// add starts one more member: the first creates the group, the others are added to it.
func (c *testCluster) add() *testMember {
	c.t.Helper()
	return c.addNamed(fmt.Sprintf("m%d", len(c.members)+1))
}

func (c *testCluster) addNamed(name string) *testMember {
	c.t.Helper()
	address := freeAddress(c.t)
	identity := Identity{ClusterID: 1, MemberID: newID(), Name: name, PeerAddress: address, ClientAddress: "client-" + name + ":2379"}
	identity.Creator = len(c.members) == 0
	if !identity.Creator {
		newcomer := NewMember{Name: name, PeerAddress: address, ClientAddress: identity.ClientAddress}
		eventually(c.t, "a member to be added", func() bool {
			id, err := c.running().AddMember(testContext(c.t), newcomer)
			if err != nil && !errors.Is(err, ErrOutcomeUnknown) && !errors.Is(err, ErrNoLeader) { // a busy machine
				c.t.Fatal(err)
			}
			identity.MemberID = id
			return err == nil
		})
	}
	m := c.open(identity)
	m.eventually("to vote", func() bool { return !m.Status().IsLearner && m.Status().Leader != 0 })
	return m
}

// open starts a member that the group knows, or that begins it.
func (c *testCluster) open(identity Identity) *testMember {
	c.t.Helper()
	name := identity.Name
	certPEM, keyPEM, err := c.ca.IssuePair(pki.PeerLeaf(name, "127.0.0.1"), time.Now())
	if err != nil {
		c.t.Fatal(err)
	}
	source, err := pki.NewSource(certPEM, keyPEM)
	if err != nil {
		c.t.Fatal(err)
	}
	m := &testMember{cluster: c, address: identity.PeerAddress, config: Config{
		Identity: identity, Source: source, CA: c.ca, Logger: testLogger(c.t, name),
		DataDir: filepath.Join(c.dir, fmt.Sprintf("%s-%x", name, identity.MemberID)),
	}}
	if c.adjust != nil {
		c.adjust(&m.config)
	}
	c.members = append(c.members, m)
	m.start()
	return m
}

func (c *testCluster) running() *testMember {
	for _, m := range c.members {
		if m.Member != nil {
			return m
		}
	}
	c.t.Fatal("no member runs")
	return nil
}

// leader waits until one member leads and all running ones agree.
func (c *testCluster) leader() *testMember {
	c.t.Helper()
	var leader *testMember
	eventually(c.t, "a leader", func() bool {
		leader = nil
		var id uint64
		for _, m := range c.members {
			if m.Member == nil {
				continue
			}
			s := m.Status()
			if s.Leader == 0 || (id != 0 && s.Leader != id) {
				return false
			}
			id = s.Leader
			if s.Leader == s.ID {
				leader = m
			}
		}
		return leader != nil
	})
	return leader
}

func (c *testCluster) follower() *testMember {
	c.t.Helper()
	leader := c.leader()
	for _, m := range c.members {
		if m.Member != nil && m != leader {
			return m
		}
	}
	c.t.Fatal("no follower runs")
	return nil
}

func (m *testMember) start() {
	m.cluster.t.Helper()
	listener, err := Listen(m.address)
	if err != nil {
		m.cluster.t.Fatal(err)
	}
	m.port = &deafPort{Listener: listener}
	m.config.Listener = m.port
	if m.Member, err = Open(m.config); err != nil {
		m.cluster.t.Fatal(err)
	}
}

func (m *testMember) stop() {
	if m.Member == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), testWait)
	defer cancel()
	if err := m.Member.Close(ctx); err != nil {
		m.cluster.t.Errorf("close %s: %v", m.config.Identity.Name, err)
	}
	m.Member = nil
}

func (m *testMember) eventually(what string, ok func() bool) {
	m.cluster.t.Helper()
	eventually(m.cluster.t, m.config.Identity.Name+" "+what, ok)
}

// eventually polls a condition of something that offers nothing to wait on.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.After(testWait)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			t.Fatalf("waited %v for %s", testWait, what)
		case <-tick.C:
		}
	}
}

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), testWait)
	t.Cleanup(cancel)
	return ctx
}

func (m *testMember) put(key, value string) *pb.PutResponse {
	m.cluster.t.Helper()
	r, err := m.Put(testContext(m.cluster.t), &pb.PutRequest{Key: []byte(key), Value: []byte(value)})
	if err != nil {
		m.cluster.t.Fatalf("put at %s: %v", m.config.Identity.Name, err)
	}
	return r
}

func (m *testMember) get(key string) string {
	m.cluster.t.Helper()
	r, err := m.Range(testContext(m.cluster.t), &pb.RangeRequest{Key: []byte(key)})
	if err != nil {
		m.cluster.t.Fatalf("get at %s: %v", m.config.Identity.Name, err)
	}
	if len(r.Kvs) == 0 {
		return ""
	}
	return string(r.Kvs[0].Value)
}

func (m *testMember) wantValue(key, value string) {
	m.cluster.t.Helper()
	if got := m.get(key); got != value {
		m.cluster.t.Errorf("%s: %s is %q, want %q", m.config.Identity.Name, key, got, value)
	}
}
