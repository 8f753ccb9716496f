// Package cluster runs masters of the store in the test's own process, for tests against their client ports: they start
// fast, and can be stopped, started again and cut off from each other.
package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/ctlplane/ctlplane/master"
	"github.com/ctlplane/ctlplane/raftstore"
)

// Cluster is a group of masters, whose client ports are in plain text.
type Cluster struct {
	Members []*Member
	t       testing.TB
}

// Member is one master. Others reach it through a proxy, which can be cut.
type Member struct {
	Name   string
	Client string // address of its client port
	config master.Config
	peers  *proxy
	t      testing.TB
	cancel context.CancelFunc
	ended  chan error
}

// Start starts n masters and waits until all of them serve. They end with the test.
func Start(t testing.TB, n int, adjust func(*master.Config)) *Cluster {
	t.Helper()
	c := &Cluster{t: t}
	dir := t.TempDir()
	var list []raftstore.Peer
	for i := range n {
		m := &Member{Name: fmt.Sprint("m", i), Client: freeAddress(t), t: t}
		listen := freeAddress(t)
		m.peers = newProxy(t, listen)
		list = append(list, raftstore.Peer{Name: m.Name, Address: m.peers.address()})
		m.config = master.Config{
			Name: m.Name, DataDir: filepath.Join(dir, m.Name), Token: "a-token-that-is-long-enough",
			PeerAddr: listen, ClientAddr: m.Client, KVInsecure: true, StoreOnly: true, Logger: logger(m.Name),
		}
		if adjust != nil {
			adjust(&m.config)
		}
		c.Members = append(c.Members, m)
	}
	var all []<-chan struct{}
	for _, m := range c.Members {
		m.config.Peers = list
		all = append(all, m.start())
		t.Cleanup(m.Stop)
	}
	for i, ready := range all {
		c.Members[i].await(ready)
	}
	return c
}

func logger(name string) *slog.Logger {
	level := slog.LevelError + 1
	if os.Getenv("CTLPLANE_TEST_LOG") != "" {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level})).With("member", name)
}

// freeAddress is one that nobody listens on. It has a host of its own, so that no connection of another test gets its port
// meanwhile: those come from 127.0.0.1.
func freeAddress(t testing.TB) string {
	l, err := net.Listen("tcp", fmt.Sprintf("127.%d.%d.%d:0", 1+rand.IntN(250), rand.IntN(250), 1+rand.IntN(250)))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (m *Member) start() <-chan struct{} {
	ready := make(chan struct{})
	m.config.Ready = func(master.Ready) { close(ready) }
	var ctx context.Context
	ctx, m.cancel = context.WithCancel(context.Background())
	m.ended = make(chan error, 1)
	ended, config := m.ended, m.config
	go func() { ended <- master.Run(ctx, config) }()
	return ready
}

func (m *Member) await(ready <-chan struct{}) {
	m.t.Helper()
	select {
	case <-ready:
	case err := <-m.ended:
		m.cancel()
		m.cancel = nil
		m.t.Fatalf("%s ended before it was ready: %v", m.Name, err)
	}
}

// Start starts a stopped member again and waits until it serves.
func (m *Member) Start() {
	m.t.Helper()
	m.await(m.start())
}

// Stop stops the member and waits for its end.
func (m *Member) Stop() {
	if m.cancel == nil {
		return
	}
	m.cancel()
	m.cancel = nil
	if err := <-m.ended; err != nil {
		m.t.Errorf("%s: %v", m.Name, err)
	}
}

// Cut keeps the other members from reaching this one, until Heal.
func (m *Member) Cut()  { m.peers.cut() }
func (m *Member) Heal() { m.peers.heal() }

// Connect opens a client of the given members, or of all. It is closed with the test.
func (c *Cluster) Connect(members ...*Member) *clientv3.Client {
	c.t.Helper()
	if len(members) == 0 {
		members = c.Members
	}
	var endpoints []string
	for _, m := range members {
		endpoints = append(endpoints, m.Client)
	}
	client, err := clientv3.New(clientv3.Config{Endpoints: endpoints, Logger: zap.NewNop()})
	if err != nil {
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() { _ = client.Close() })
	return client
}

// Leader asks until it is told who leads.
func (c *Cluster) Leader(ctx context.Context) *Member {
	c.t.Helper()
	client := c.Connect()
	for ctx.Err() == nil {
		for _, m := range c.Members {
			if m.cancel == nil {
				continue
			}
			if s, err := client.Status(ctx, m.Client); err == nil && s.Leader == s.Header.MemberId {
				return m
			}
		}
	}
	c.t.Fatal("nobody leads")
	return nil
}

// ID asks the member for its id.
func (c *Cluster) ID(ctx context.Context, m *Member) uint64 {
	c.t.Helper()
	s, err := c.Connect(m).Status(ctx, m.Client)
	if err != nil {
		c.t.Fatal(err)
	}
	return s.Header.MemberId
}
