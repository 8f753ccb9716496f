package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	members     = 3
	stopTimeout = 10 * time.Second
)

// system is a kind of server, and how a member of it is started.
type system struct {
	name      string
	binary    string
	pipelined bool // has ctlplane's write stream
	args      func(m member, all []member) []string
}

// member is one process of a cluster on loopback.
type member struct {
	name              string
	dir               string
	client, peer, api string // addresses, host:port
}

func etcdSystem(binary string) system {
	return system{name: "etcd", binary: binary, args: func(m member, all []member) []string {
		var cluster []string
		for _, a := range all {
			cluster = append(cluster, a.name+"=http://"+a.peer)
		}
		return []string{
			"--name", m.name, "--data-dir", m.dir, "--log-level", "error",
			"--listen-client-urls", "http://" + m.client, "--advertise-client-urls", "http://" + m.client,
			"--listen-peer-urls", "http://" + m.peer, "--initial-advertise-peer-urls", "http://" + m.peer,
			"--initial-cluster", strings.Join(cluster, ","),
		}
	}}
}

func ctlplaneSystem(binary string) system {
	return system{name: "ctlplane", binary: binary, pipelined: true, args: func(m member, all []member) []string {
		var peers []string
		for _, a := range all {
			peers = append(peers, a.name+"="+a.peer)
		}
		return []string{
			"init", "--peers", strings.Join(peers, ","), "--name", m.name, "--data-dir", m.dir,
			"--token", "a-secret-for-the-benchmark-alone", "--kv-insecure",
			"--peer-addr", m.peer, "--client-addr", m.client, "--api-addr", m.api,
		}
	}}
}

// cluster is three running members.
type cluster struct {
	dir       string
	endpoints []string
	processes []*exec.Cmd
}

// startCluster starts fresh members of s with their data under dir, which stop removes. It does not wait for a leader.
func startCluster(ctx context.Context, s system, dir string) (*cluster, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	ports, err := freePorts(3 * members)
	if err != nil {
		return nil, err
	}
	var all []member
	for i := range members {
		name := string(rune('a' + i))
		all = append(all, member{name, filepath.Join(dir, name), ports[3*i], ports[3*i+1], ports[3*i+2]})
	}
	c := &cluster{dir: dir}
	for _, m := range all {
		if err := c.start(ctx, s, m, all); err != nil {
			c.stop()
			return nil, err
		}
	}
	return c, nil
}

func (c *cluster) start(ctx context.Context, s system, m member, all []member) error {
	log, err := os.Create(filepath.Join(c.dir, m.name+".log"))
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own
	p := exec.CommandContext(ctx, s.binary, s.args(m, all)...)
	p.Stdout, p.Stderr = log, log
	p.Cancel = func() error { return p.Process.Signal(syscall.SIGTERM) }
	p.WaitDelay = stopTimeout
	if err := p.Start(); err != nil {
		return fmt.Errorf("start %s: %w", s.binary, err)
	}
	c.processes = append(c.processes, p)
	c.endpoints = append(c.endpoints, "http://"+m.client)
	return nil
}

// stop ends all members, by force if they don't end by themselves, and removes their data.
func (c *cluster) stop() {
	for _, p := range c.processes {
		_ = p.Process.Signal(syscall.SIGTERM) // one that has ended already is no trouble
	}
	for _, p := range c.processes {
		kill := time.AfterFunc(stopTimeout, func() { _ = p.Process.Kill() })
		_ = p.Wait() // how a member ended is in its log
		kill.Stop()
	}
	_ = os.RemoveAll(c.dir)
}

// logs are the last lines that each member wrote.
func (c *cluster) logs() string {
	var b strings.Builder
	names, _ := filepath.Glob(filepath.Join(c.dir, "*.log")) // the pattern is well-formed
	for _, name := range names {
		text, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
		fmt.Fprintf(&b, "%s:\n%s\n", filepath.Base(name), bytes.Join(lines[max(0, len(lines)-5):], []byte("\n")))
	}
	return b.String()
}

// freePorts are addresses on loopback that nobody listens at.
func freePorts(n int) ([]string, error) {
	var addresses []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // all at the end, so that no port comes twice
		addresses = append(addresses, l.Addr().String())
	}
	return addresses, nil
}
