// Package dev runs a whole cluster of real processes on one machine: masters, each with an address of
// its own, and nodes, each in a network namespace of its own.
package dev

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ctlplane/ctlplane/agent/machine"
	"github.com/ctlplane/ctlplane/bench/freeport"
	"github.com/ctlplane/ctlplane/client"
)

// Options say what cluster to run.
type Options struct {
	Dir     string // all state, logs and the kubeconfig
	Binary  string // the ctlplane binary
	Masters int
	Nodes   int
	// Detach lets the processes live on when this one ends.
	Detach bool
	// MasterFlags are added to each master's command.
	MasterFlags []string
	// Progress, when set, is told what is being done.
	Progress func(format string, args ...any)
}

// Cluster is a running cluster. Its methods are for one goroutine.
//
// Whatever it puts on the machine is in its state file before it is made, so that Clean can take it away
// after any kind of death.
type Cluster struct {
	opts    Options
	ctx     context.Context
	spawner *spawner
	lock    *os.File // of the directory: see own
	segment *segment
	token   string // path of the file with the masters' secret
	Masters []*Master
	Nodes   []*Node
}

// Master is one master's process and how to reach it.
type Master struct {
	*Process
	// Access is the admin's, as it was when the master was first ready. What lives long reads it from the kubeconfig.
	Access  client.Access
	DataDir string
	args    []string
}

// Node is one node's process.
type Node struct {
	*Process
	DataDir   string
	Namespace string // network namespace
	args      []string
}

// Most masters and nodes that a segment has addresses for.
const (
	maxMasters = 89
	maxNodes   = 150
)

// check refuses what cannot be started.
func (o *Options) check() error {
	switch {
	case o.Masters < 1 || o.Masters > maxMasters:
		return fmt.Errorf("a cluster of %d masters is not possible: choose 1 to %d", o.Masters, maxMasters)
	case o.Nodes < 0 || o.Nodes > maxNodes:
		return fmt.Errorf("a cluster of %d nodes is not possible: choose 0 to %d", o.Nodes, maxNodes)
	case o.Nodes > 0 && os.Geteuid() != 0:
		return errors.New("nodes need root, for containers and network namespaces: run this as root, or start a cluster without nodes (dev --nodes 0)")
	case o.Nodes > 0:
		return machine.CheckRequirements()
	}
	return nil
}

// ErrRuns says that a cluster runs in the directory already.
var ErrRuns = errors.New("a cluster runs here already")

// Start brings a cluster up and returns once masters and nodes are ready. ctx bounds the start and every
// later one; when it fails, nothing is left on the machine but logs. It removes what a killed owner left in the
// directory, and answers ErrRuns where a cluster is alive.
func Start(ctx context.Context, opts Options) (*Cluster, error) {
	if opts.Progress == nil {
		opts.Progress = func(string, ...any) {}
	}
	if err := opts.check(); err != nil {
		return nil, err
	}
	lock, err := own(opts.Dir)
	if errors.Is(err, errOwned) {
		return nil, ErrRuns
	}
	if err != nil {
		return nil, err
	}
	c := &Cluster{opts: opts, ctx: ctx, lock: lock, token: filepath.Join(opts.Dir, "token")}
	if err := c.prepare(); err != nil {
		lock.Close()
		return nil, err
	}
	c.spawner = newSpawner()
	if err := c.start(); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

// prepare makes the directory an empty one of this cluster.
func (c *Cluster) prepare() error {
	earlier, err := readState(c.opts.Dir)
	if err != nil {
		return err
	}
	if earlier != nil {
		running, err := processes(c.opts.Dir)
		if err != nil {
			return err
		}
		if earlier.Detached && len(running) > 0 {
			return ErrRuns
		}
		if err := earlier.remove(c.opts.Dir); err != nil {
			return fmt.Errorf("clean up after an earlier cluster in %s: %w", c.opts.Dir, err)
		}
	}
	if err := removeData(c.opts.Dir); err != nil {
		return err
	}
	logs := filepath.Join(c.opts.Dir, logsDir)
	if err := errors.Join(os.RemoveAll(logs), os.Mkdir(logs, 0o700)); err != nil {
		return err
	}
	return c.save()
}

func (c *Cluster) start() error {
	if err := os.WriteFile(c.token, []byte(rand.Text()+"\n"), 0o600); err != nil {
		return err
	}
	addresses, err := c.addresses()
	if err != nil {
		return err
	}
	if err := c.startMasters(addresses); err != nil {
		return err
	}
	return c.startNodes()
}

// address is where one master listens, each a host and a port.
type address struct{ peer, client, api string }

func (a address) flags() []string {
	return []string{"--peer-addr", a.peer, "--client-addr", a.client, "--api-addr", a.api}
}

// addresses gives each master a host of its own on the segment or, without the right to make one, ports of
// its own on the loopback address.
func (c *Cluster) addresses() ([]address, error) {
	var all []address
	if os.Geteuid() != 0 {
		for range c.opts.Masters {
			free, err := freeport.Addresses(3)
			if err != nil {
				return nil, err
			}
			all = append(all, address{free[0], free[1], free[2]})
		}
		return all, nil
	}
	segment, err := findSegment()
	if err != nil {
		return nil, err
	}
	c.segment = segment
	if err := c.save(); err != nil {
		return nil, err
	}
	if err := segment.create(); err != nil {
		return nil, err
	}
	for i := range c.opts.Masters {
		if err := segment.addMaster(i); err != nil {
			return nil, err
		}
		host := segment.master(i).String()
		all = append(all, address{host + ":2380", host + ":2379", host + ":6443"})
	}
	return all, nil
}

// counted says how many there are of what a noun names.
func counted(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprint(n, " ", noun)
}

func (c *Cluster) startMasters(addresses []address) error {
	c.opts.Progress("starting %s", counted(len(addresses), "master"))
	var peers []string
	for i, a := range addresses {
		peers = append(peers, fmt.Sprintf("m%d=%s", i+1, a.peer))
	}
	for i, a := range addresses {
		name := fmt.Sprintf("m%d", i+1)
		m := &Master{DataDir: filepath.Join(c.opts.Dir, name)}
		m.args = append([]string{"init", "--name", name, "--data-dir", m.DataDir, "--token-file", c.token}, a.flags()...)
		if len(addresses) > 1 {
			m.args = append(m.args, "--peers", strings.Join(peers, ","))
		}
		m.args = append(m.args, c.opts.MasterFlags...)
		c.Masters = append(c.Masters, m)
	}
	if err := c.StartMasters(); err != nil {
		return err
	}
	var endpoints []string
	for _, a := range addresses {
		endpoints = append(endpoints, a.client)
	}
	for _, m := range c.Masters {
		access, err := m.awaitAccess(c.ctx, endpoints)
		if err != nil {
			return err
		}
		access.Endpoints = endpoints
		m.Access = access
	}
	// Not a copy: the master rewrites its own before the certificate in it ends.
	link, err := filepath.Rel(c.opts.Dir, c.Masters[0].kubeconfig())
	if err != nil {
		return err
	}
	if err := os.Remove(c.Kubeconfig()); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Symlink(link, c.Kubeconfig())
}

func (m *Master) kubeconfig() string { return filepath.Join(m.DataDir, "admin.kubeconfig") }

// awaitAccess reads the kubeconfig that a master writes, once it names all masters: they join one after another.
func (m *Master) awaitAccess(ctx context.Context, endpoints []string) (client.Access, error) {
	ctx, cancel := context.WithTimeout(ctx, readyPatience)
	defer cancel()
	for {
		access, err := client.ReadKubeconfig(m.kubeconfig())
		if err != nil {
			return access, err
		}
		if !slices.ContainsFunc(endpoints, func(e string) bool { return !slices.Contains(access.Endpoints, e) }) {
			return access, nil
		}
		select {
		case <-ctx.Done():
			return access, fmt.Errorf("master %s knows the client ports %v of %v only", filepath.Base(m.DataDir), access.Endpoints, endpoints)
		case <-time.After(pollEvery):
		}
	}
}

func (c *Cluster) startNodes() error {
	if c.opts.Nodes == 0 {
		return nil
	}
	c.opts.Progress("starting %s", counted(c.opts.Nodes, "node"))
	tokenFile, err := c.nodeToken()
	if err != nil {
		return err
	}
	c.segment.reserveNodes(c.opts.Nodes)
	for i := range c.opts.Nodes {
		name := fmt.Sprintf("n%d", i+1)
		n := &Node{DataDir: filepath.Join(c.opts.Dir, name), Namespace: c.segment.Nodes[i]}
		c.Nodes = append(c.Nodes, n)
		n.args = []string{
			"join", strings.TrimPrefix(c.Masters[0].Access.Server, "https://"), "--token-file", tokenFile,
			"--name", name, "--data-dir", n.DataDir, "--node-ip", c.segment.node(i).String(), "--heartbeat", "1s",
		}
	}
	if err := c.save(); err != nil {
		return err
	}
	for i := range c.Nodes {
		if err := c.segment.addNode(i); err != nil {
			return err
		}
	}
	return each(c.Nodes, c.StartNode)
}

// nodeToken makes a token for nodes and answers the file that holds it.
func (c *Cluster) nodeToken() (string, error) {
	create := exec.CommandContext(c.ctx, c.opts.Binary, "token", "create", "--ttl", "24h")
	create.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig())
	var complaint strings.Builder
	create.Stderr = &complaint
	token, err := create.Output()
	if err != nil {
		return "", fmt.Errorf("token create: %w: %s", err, complaint.String())
	}
	path := filepath.Join(c.opts.Dir, "node-token")
	return path, os.WriteFile(path, token, 0o600)
}

// StartNode starts a node's agent, for the first time or again.
func (c *Cluster) StartNode(n *Node) (err error) {
	n.Process, err = c.spawner.start(c, filepath.Base(n.DataDir), n.Namespace, n.args...)
	return err
}

// StartMaster starts a master that was killed.
func (c *Cluster) StartMaster(m *Master) (err error) {
	m.Process, err = c.spawner.start(c, filepath.Base(m.DataDir), "", m.args...)
	return err
}

// StartMasters starts all masters again, at once: one alone has no quorum to be ready with.
func (c *Cluster) StartMasters() error {
	return each(c.Masters, c.StartMaster)
}

// RemoveData deletes all that a master, which does not run, has stored.
func (m *Master) RemoveData() error { return os.RemoveAll(m.DataDir) }

// KillNode ends a node for good: its agent and all its containers at once, with all that they had on the machine.
func (c *Cluster) KillNode(n *Node) error {
	n.Kill()
	return destroyNode(n.DataDir, n.Namespace)
}

// Kubeconfig is the path of the admin's kubeconfig.
func (c *Cluster) Kubeconfig() string { return filepath.Join(c.opts.Dir, "admin.kubeconfig") }

// Stop ends all processes and takes everything off the machine but the logs.
func (c *Cluster) Stop() error {
	defer c.lock.Close()
	return c.stop()
}

// Remove is Stop that removes the logs, too.
func (c *Cluster) Remove() error {
	defer c.lock.Close()
	if err := c.stop(); err != nil {
		return err
	}
	return os.RemoveAll(c.opts.Dir)
}

func (c *Cluster) stop() error {
	var failed []error
	_ = each(c.Nodes, func(n *Node) error {
		if n.Process != nil {
			n.Terminate()
		}
		return nil
	})
	for _, n := range c.Nodes {
		failed = append(failed, destroyNode(n.DataDir, n.Namespace))
	}
	_ = each(c.Masters, func(m *Master) error {
		if m.Process != nil {
			m.Terminate()
		}
		return nil
	})
	c.spawner.close()
	if c.segment != nil {
		failed = append(failed, c.segment.remove())
	}
	if err := errors.Join(failed...); err != nil {
		return err // the state file stays, for Clean
	}
	return removeData(c.opts.Dir)
}

// logOf is the path of a process's log.
func (c *Cluster) logOf(name string) string { return filepath.Join(c.opts.Dir, logsDir, name+".log") }

// Wait returns when ctx ends or a process does; which one is in the error.
func (c *Cluster) Wait(ctx context.Context) error {
	ended := make(chan string, len(c.Masters)+len(c.Nodes))
	watch := func(p *Process) {
		select {
		case <-p.done:
			ended <- p.Name
		case <-ctx.Done():
		}
	}
	for _, m := range c.Masters {
		go watch(m.Process)
	}
	for _, n := range c.Nodes {
		go watch(n.Process)
	}
	select {
	case <-ctx.Done():
		return nil
	case name := <-ended:
		return fmt.Errorf("%s ended; the end of its log, %s:\n%s", name, c.logOf(name), tail(c.logOf(name), 10))
	}
}

// each runs f on all of them at once and waits.
func each[T any](all []T, f func(T) error) error {
	failed := make([]error, len(all))
	var wait sync.WaitGroup
	for i, one := range all {
		wait.Go(func() { failed[i] = f(one) })
	}
	wait.Wait()
	return errors.Join(failed...)
}

// settleTime is how long Clean waits for a process that it has killed.
const settleTime = 5 * time.Second
