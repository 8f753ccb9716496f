package cluster

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/ctlplane/ctlplane/bench/freeport"
)

// DefaultDir is where data goes that is not told otherwise: a disk, which the usual directory for temporary files may not be.
const DefaultDir = "/var/tmp"

// stopTimeout is how long a process has to end by itself.
const stopTimeout = 20 * time.Second

// Cluster is running members of one system.
//
//  1. Every process that was started has a goroutine that waits for it; ended is closed when that has.
//  2. A process dies with the one that started it, also when that one is killed.
//
// Its methods are safe for concurrent use as long as no two are about the same member.
type Cluster struct {
	system  System
	dir     string
	members []member
	running []*process // nil: ended
}

// process is one run of a member.
type process struct {
	command *exec.Cmd
	ended   chan struct{}
}

// Start starts fresh members of s with their data under dir, which Close removes. It does not wait for a leader.
func Start(s System, dir string, members int) (*Cluster, error) {
	if err := os.RemoveAll(dir); err != nil {
		return nil, err
	}
	ports, err := freeport.Addresses(2 * members)
	if err != nil {
		return nil, err
	}
	c := &Cluster{system: s, dir: dir, running: make([]*process, members)}
	for i := range members {
		name := fmt.Sprintf("m%d", i+1)
		m := member{name, filepath.Join(dir, name), ports[2*i], ports[2*i+1]}
		if err := os.MkdirAll(m.dir, 0o700); err != nil {
			return nil, err
		}
		c.members = append(c.members, m)
	}
	for i := range c.members {
		if err := c.Start(i); err != nil {
			c.Close()
			return nil, err
		}
	}
	return c, nil
}

// Endpoints are the members' client addresses.
func (c *Cluster) Endpoints() []string {
	var all []string
	for _, m := range c.members {
		all = append(all, "http://"+m.client)
	}
	return all
}

// Start starts a member that does not run, with the data that it has.
func (c *Cluster) Start(i int) error {
	m := c.members[i]
	if c.running[i] != nil {
		return fmt.Errorf("%s runs already", m.name)
	}
	log, err := os.OpenFile(c.log(m), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close() // the process has its own
	p := &process{command: exec.Command(c.system.Binary, c.system.args(m, c.members)...), ended: make(chan struct{})}
	p.command.Stdout, p.command.Stderr = log, log
	// Its own group: an interrupt at the terminal is for the benchmark, which stops its members itself.
	p.command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go p.run(started)
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", c.system.Binary, err)
	}
	c.running[i] = p
	return nil
}

// Stop asks a member to end, waits until it has, and ends it by force if it does not.
func (c *Cluster) Stop(i int) error {
	p := c.running[i]
	if p == nil {
		return nil
	}
	c.running[i] = nil
	_ = p.command.Process.Signal(syscall.SIGTERM) // one that has ended already is no trouble
	timeout := time.NewTimer(stopTimeout)
	defer timeout.Stop()
	select {
	case <-p.ended:
		return nil
	case <-timeout.C:
		p.kill()
		return fmt.Errorf("%s did not end within %s of SIGTERM", c.members[i].name, stopTimeout)
	}
}

// Kill ends a member with SIGKILL.
func (c *Cluster) Kill(i int) error {
	p := c.running[i]
	if p == nil {
		return fmt.Errorf("%s does not run", c.members[i].name)
	}
	c.running[i] = nil
	p.kill()
	return nil
}

// Close stops all members and removes their data.
func (c *Cluster) Close() {
	var stopped sync.WaitGroup
	for i := range c.members {
		stopped.Go(func() { _ = c.Stop(i) }) // by force, if it must be
	}
	stopped.Wait()
	_ = os.RemoveAll(c.dir)
}

// ResidentBytes is the memory of a member's process, as the kernel counts it.
func (c *Cluster) ResidentBytes(i int) (int64, error) {
	if c.running[i] == nil {
		return 0, fmt.Errorf("%s does not run", c.members[i].name)
	}
	return residentBytes(c.running[i].command.Process.Pid)
}

// DiskBytes is what a member's data takes on the disk: allocated blocks, each file once.
func (c *Cluster) DiskBytes(i int) (int64, error) {
	seen := map[uint64]bool{}
	var total int64
	err := filepath.WalkDir(c.members[i].dir, func(_ string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // removed since it was listed
		}
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && d.Type().IsRegular() && !seen[stat.Ino] {
			seen[stat.Ino] = true
			total += stat.Blocks * 512
		}
		return nil
	})
	return total, err
}

// Logs are the last lines that each member wrote.
func (c *Cluster) Logs() string {
	var b strings.Builder
	for _, m := range c.members {
		text, err := os.ReadFile(c.log(m))
		if err != nil {
			continue
		}
		lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
		fmt.Fprintf(&b, "%s:\n%s\n", m.name, bytes.Join(lines[max(0, len(lines)-5):], []byte("\n")))
	}
	return b.String()
}

func (c *Cluster) log(m member) string { return filepath.Join(c.dir, m.name+".log") }
