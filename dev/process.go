package dev

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"time"

	"github.com/vishvananda/netns"
)

const (
	// stopPatience is how long a process may take to end by itself.
	stopPatience = 10 * time.Second
	// readyPatience is how long a process may take until it is ready.
	readyPatience = 60 * time.Second
	// pollEvery is how often a log is looked at for a process's word that it is ready.
	pollEvery = 20 * time.Millisecond
)

// Process is one master or node of the cluster: a child of this process, or one that an earlier run of
// it left behind.
type Process struct {
	Name string
	Log  string // path
	PID  int
	cmd  *exec.Cmd
	done chan struct{} // closed once the process has ended
}

// spawner starts children from one thread that lives as long as they may: the kernel ends a child when
// the thread that started it is gone, which is how the cluster ends with a killed `ctlplane dev`.
type spawner struct {
	requests chan func()
}

func newSpawner() *spawner {
	s := &spawner{requests: make(chan func())}
	go func() {
		runtime.LockOSThread() // never unlocked: the thread is given up with the goroutine
		for f := range s.requests {
			f()
		}
	}()
	return s
}

// close ends the thread, and with it all children that are tied to it.
func (s *spawner) close() { close(s.requests) }

// start runs the binary with args inside the network namespace named, or in ours when it is empty.
func (s *spawner) start(c *Cluster, name, namespace string, args ...string) (*Process, error) {
	logs, err := os.OpenFile(c.logOf(name), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer logs.Close()
	offset, err := logs.Seek(0, 2)
	if err != nil {
		return nil, err
	}
	command := exec.Command(c.opts.Binary, args...)
	command.Stdout, command.Stderr = logs, logs
	if c.opts.Detach {
		command.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives the terminal, too
	} else {
		// A terminal's interrupt is ours to pass on.
		command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
	}
	result := make(chan error, 1)
	s.requests <- func() { result <- inNamespace(namespace, command.Start) }
	if err := <-result; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &Process{Name: name, Log: logs.Name(), PID: command.Process.Pid, cmd: command, done: make(chan struct{})}
	go func() {
		_ = command.Wait() // how it ended shows in its log
		close(p.done)
	}()
	return p, p.waitReady(c.ctx, offset)
}

// inNamespace runs f on this locked thread inside a named network namespace.
func inNamespace(name string, f func() error) error {
	if name == "" {
		return f()
	}
	home, err := netns.Get()
	if err != nil {
		return err
	}
	defer home.Close()
	there, err := netns.GetFromName(name)
	if err != nil {
		return fmt.Errorf("network namespace %s: %w", name, err)
	}
	defer there.Close()
	if err := netns.Set(there); err != nil {
		return err
	}
	defer func() { _ = netns.Set(home) }() // our own namespace, held open: entering it cannot fail
	return f()
}

// waitReady waits for the process's word that it is ready, past offset in its log.
func (p *Process) waitReady(ctx context.Context, offset int64) error {
	deadline := time.NewTimer(readyPatience)
	defer deadline.Stop()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		if content, err := os.ReadFile(p.Log); err == nil && int64(len(content)) > offset &&
			bytes.Contains(content[offset:], []byte(" is ready")) {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.done:
			return fmt.Errorf("%s ended before it was ready; the end of its log, %s:\n%s", p.Name, p.Log, tail(p.Log, 10))
		case <-deadline.C:
			return fmt.Errorf("%s is not ready after %v; the end of its log, %s:\n%s", p.Name, readyPatience, p.Log, tail(p.Log, 10))
		case <-tick.C:
		}
	}
}

// Kill ends the process without warning, as a machine's death would.
func (p *Process) Kill() {
	_ = syscall.Kill(p.PID, syscall.SIGKILL) // gone already is as good
	<-p.done
}

// Terminate asks the process to end, and makes it when it takes too long.
func (p *Process) Terminate() {
	_ = syscall.Kill(p.PID, syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopPatience):
		p.Kill()
	}
}

// Running says whether the process has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

func tail(path string, lines int) string {
	content, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	all := strings.Split(strings.TrimRight(string(content), "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}
