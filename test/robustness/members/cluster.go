// Package members runs the members of a cluster as real processes, of ctlplane or of etcd, with a network between them that
// can be disturbed. They can be killed, paused, wiped, and started again.
package members

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"

	"github.com/ctlplane/ctlplane/bench/freeport"
	"github.com/ctlplane/ctlplane/test/robustness/disk"
	"github.com/ctlplane/ctlplane/test/robustness/links"
)

// Config is a cluster to start.
type Config struct {
	// Binary is what the members run: ctlplane's, or etcd's where Etcd is set.
	Binary string
	Etcd   bool
	// Dir is where data and logs go.
	Dir string
	// Members is how many there are.
	Members int
	// Disks gives each member a disk of its own, which can be disturbed.
	Disks bool
	// Environment is added to that of each member.
	Environment []string
}

// Cluster is a cluster of processes.
type Cluster struct {
	Members []*Member
	Net     *links.Net
	config  Config

	mu      sync.Mutex
	clients []*clientv3.Client
}

// token is what ctlplane's members know each other by. It guards nothing: it lives as long as the cluster does.
const token = "a-secret-for-robustness-alone"

// Start starts all members of a fresh cluster. It does not wait for a leader.
func Start(config Config) (*Cluster, error) {
	ports, err := freeport.Addresses(3 * config.Members)
	if err != nil {
		return nil, err
	}
	c := &Cluster{config: config}
	c.Net = links.New(c.owner)
	for i := range config.Members {
		name := fmt.Sprintf("m%d", i+1)
		c.Members = append(c.Members, &Member{
			Name: name, Number: i, Client: ports[3*i], peer: ports[3*i+1], proxy: ports[3*i+2], cluster: c,
			dir: filepath.Join(config.Dir, name), state: "new",
		})
	}
	for _, m := range c.Members { // all of which are there before the first connection, of whomever it is, comes to a proxy
		if err := c.Net.Add(m.proxy, m.peer); err != nil {
			c.Close()
			return nil, err
		}
		if err := c.makeDisk(m); err != nil {
			c.Close()
			return nil, err
		}
	}
	for _, m := range c.Members {
		if err := m.Jump(0); err != nil {
			c.Close()
			return nil, err
		}
		if err := m.Start(); err != nil {
			c.Close()
			return nil, err
		}
	}
	return c, nil
}

func (c *Cluster) makeDisk(m *Member) (err error) {
	at := filepath.Dir(m.dataDir())
	if c.config.Disks {
		m.Disk, err = disk.Mount(filepath.Join(m.dir, "disk"), at)
		return err
	}
	return os.MkdirAll(at, 0o700)
}

// owner is the member that a connection from a port is of.
func (c *Cluster) owner(port int) int {
	var pids []int
	for _, m := range c.Members {
		pids = append(pids, m.pid())
	}
	return links.Owner(port, pids)
}

// Close ends all processes. Data and logs stay.
func (c *Cluster) Close() {
	c.mu.Lock()
	clients := c.clients
	c.mu.Unlock()
	for _, client := range clients {
		_ = client.Close() // nothing hangs on it
	}
	for _, m := range c.Members {
		if m.Disk != nil {
			m.Disk.Heal()
		}
		m.Kill()
		if m.Disk != nil {
			_ = m.Disk.Unmount() // the next start says so, if it matters
		}
	}
	c.Net.Close()
}

// args is the command line of a member.
func (c *Cluster) args(m *Member) []string {
	var all []string
	for _, other := range c.Members {
		all = append(all, other.Name+"=http://"+other.proxy)
	}
	args := []string{
		"--name", m.Name, "--data-dir", m.dataDir(),
		"--listen-client-urls", "http://" + m.Client, "--advertise-client-urls", "http://" + m.Client,
		"--listen-peer-urls", "http://" + m.peer, "--initial-advertise-peer-urls", "http://" + m.proxy,
		"--initial-cluster", strings.Join(all, ","), "--initial-cluster-state", m.state, "--initial-cluster-token", token,
		// Members that were away need a snapshot soon.
		"--snapshot-count", "500",
		"--log-level", "info",
	}
	if c.config.Etcd {
		return append(args, "--snapshot-catchup-entries", "100")
	}
	return append([]string{"etcd"}, args...)
}

// Connect makes a client of some members, of all if none is named.
func (c *Cluster) Connect(members ...*Member) (*clientv3.Client, error) {
	if len(members) == 0 {
		members = c.Members
	}
	var endpoints []string
	for _, m := range members {
		endpoints = append(endpoints, m.Client)
	}
	client, err := NewClient(endpoints)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clients = append(c.clients, client)
	return client, nil
}

// Leader is the member that a majority takes for the leader; nil if there is none. Those without aren't asked.
func (c *Cluster) Leader(ctx context.Context, without ...*Member) *Member {
	votes := map[uint64]int{}
	ids := map[uint64]*Member{}
	for _, m := range c.Members {
		if slices.Contains(without, m) {
			continue
		}
		status, err := m.Status(ctx)
		if err != nil {
			continue
		}
		ids[status.Header.MemberId] = m
		votes[status.Leader]++
	}
	for id, n := range votes {
		if id != 0 && 2*n > len(c.Members) {
			return ids[id]
		}
	}
	return nil
}
