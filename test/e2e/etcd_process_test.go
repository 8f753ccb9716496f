package e2e

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ctlplane/ctlplane/bench/freeport"
)

// freeAddress is one of the loopback range that nobody listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	addresses, err := freeport.Addresses(1)
	if err != nil {
		t.Fatal(err)
	}
	return addresses[0]
}

// etcdProcess is a running `ctlplane etcd`.
type etcdProcess struct {
	t       *testing.T
	command *exec.Cmd
	ready   chan struct{} // closed when it says that it is
	ended   chan struct{} // closed when it has
	err     error         // why, once it has ended

	mu    sync.Mutex
	lines []string
}

// startEtcd runs `ctlplane etcd` until it is stopped, or the test ends.
func startEtcd(t *testing.T, env []string, args ...string) *etcdProcess {
	t.Helper()
	return startServer(t, binary, env, append([]string{"etcd"}, args...)...)
}

// startServer is startEtcd for any program that says what etcd says when it is ready.
func startServer(t *testing.T, program string, env []string, args ...string) *etcdProcess {
	t.Helper()
	p := &etcdProcess{t: t, command: exec.Command(program, args...), ready: make(chan struct{}), ended: make(chan struct{})}
	p.command.Env = append(os.Environ(), env...)
	logs, err := p.command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		told := false
		for scanner := bufio.NewScanner(logs); scanner.Scan(); {
			p.mu.Lock()
			p.lines = append(p.lines, scanner.Text())
			p.mu.Unlock()
			if !told && strings.Contains(scanner.Text(), "ready to serve client requests") {
				told = true
				close(p.ready)
			}
		}
		p.err = p.command.Wait()
	}()
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("%s:\n%s", strings.Join(p.command.Args, " "), p.logs())
		}
	})
	return p
}

// waitReady waits until the member serves.
func (p *etcdProcess) waitReady() {
	p.t.Helper()
	select {
	case <-p.ready:
	case <-p.ended:
		p.t.Fatalf("a member ended before it was ready: %v\n%s", p.err, p.logs())
	case <-time.After(patience):
		p.t.Fatalf("a member was not ready in %v:\n%s", patience, p.logs())
	}
}

// stop ends the member as systemd would, and waits for it.
func (p *etcdProcess) stop() {
	p.t.Helper()
	_ = p.command.Process.Signal(syscall.SIGTERM) // it may have ended
	<-p.ended
	if p.err != nil && (p.command.Path == binary || p.err.Error() != "signal: terminated") { // as etcd's own ends
		p.t.Errorf("etcd: %v\n%s", p.err, p.logs())
	}
}

// logs are the lines that it has logged so far.
func (p *etcdProcess) logs() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.lines, "\n")
}

// logged tells whether there is a line with all of the words.
func (p *etcdProcess) logged(words ...string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.ContainsFunc(p.lines, func(line string) bool {
		for _, word := range words {
			if !strings.Contains(line, word) {
				return false
			}
		}
		return true
	})
}

// etcdCluster is what several members are started with, as etcd's guide has it.
type etcdCluster struct {
	t              *testing.T
	dir, scheme    string
	names          []string
	peers, clients map[string]string
	flags          func(name string) []string // beside the addresses; nil: none
	processes      map[string]*etcdProcess
}

func newEtcdCluster(t *testing.T, scheme string, names ...string) *etcdCluster {
	c := &etcdCluster{t: t, dir: t.TempDir(), scheme: scheme, peers: map[string]string{}, clients: map[string]string{}, processes: map[string]*etcdProcess{}}
	for _, name := range names {
		c.add(name)
	}
	return c
}

func (c *etcdCluster) add(name string) {
	c.names = append(c.names, name)
	c.peers[name], c.clients[name] = freeAddress(c.t), freeAddress(c.t)
}

// initial is --initial-cluster.
func (c *etcdCluster) initial() string {
	var list []string
	for _, name := range c.names {
		list = append(list, name+"="+c.scheme+"://"+c.peers[name])
	}
	return strings.Join(list, ",")
}

// start starts a member, whether it was there before or not.
func (c *etcdCluster) start(name string, more ...string) *etcdProcess {
	c.t.Helper()
	peer, client := c.scheme+"://"+c.peers[name], c.scheme+"://"+c.clients[name]
	args := []string{
		"--name", name, "--data-dir", c.dataDir(name),
		"--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
		"--listen-client-urls", client, "--advertise-client-urls", client,
		"--initial-cluster", c.initial(), "--initial-cluster-token", "etcd-cluster-1",
	}
	if c.flags != nil {
		args = append(args, c.flags(name)...)
	}
	c.processes[name] = startEtcd(c.t, nil, append(args, more...)...)
	return c.processes[name]
}

func (c *etcdCluster) dataDir(name string) string { return filepath.Join(c.dir, name) }

// startAll starts the members in the order of their names' ends, and waits for all.
func (c *etcdCluster) startAll() {
	c.t.Helper()
	for _, name := range slices.Backward(c.names) {
		c.start(name)
	}
	for _, name := range c.names {
		c.processes[name].waitReady()
	}
}

// endpoints are all members' client ports.
func (c *etcdCluster) endpoints() []string {
	var endpoints []string
	for _, name := range c.names {
		endpoints = append(endpoints, c.clients[name])
	}
	return endpoints
}
