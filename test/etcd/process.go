package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// test is one of etcd's tests, without the parts that are skipped.
type test struct {
	pkg, name string
	skip      []string
}

func (t test) String() string { return t.pkg + "." + t.name }

// run runs a test in a process of its own, and ends what it leaves behind. The error is not the test's.
func (s *suite) run(ctx context.Context, t test) (_ result, err error) {
	temp, err := os.MkdirTemp("", "etcd-") // short: paths of sockets are below it
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(temp)) }()
	args := []string{"-test.run", "^" + t.name + "$", "-test.v=test2json", "-test.timeout", s.timeout.String(), "-bin-dir", s.bin}
	if len(t.skip) > 0 {
		args = append(args, "-test.skip", skipPattern(t.name, t.skip))
	}
	log, err := os.Create(filepath.Join(s.logs, t.String()+".log"))
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	c := exec.CommandContext(ctx, s.testBinary(t.pkg), args...)
	c.Dir, c.Env = filepath.Join(s.sources, t.pkg), append(withoutEtcd(os.Environ()), "TMPDIR="+temp)
	c.Stdout, c.Stderr = log, log
	c.WaitDelay = 10 * time.Second
	begun := time.Now()
	ended := c.Run()
	if err := errors.Join(ctx.Err(), endOrphans()); err != nil {
		return result{}, err
	}
	output, err := os.ReadFile(log.Name())
	if err != nil {
		return result{}, err
	}
	return outcome(t, output, ended, time.Since(begun)), nil
}

// withoutEtcd leaves out the variables that etcd and its clients take as settings.
func withoutEtcd(environ []string) []string {
	var kept []string
	for _, variable := range environ {
		if !strings.HasPrefix(variable, "ETCD") {
			kept = append(kept, variable)
		}
	}
	return kept
}

// becomeSubreaper makes this process the parent of all that its children leave behind.
func becomeSubreaper() error { return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// endOrphans ends the processes that a test has left behind: servers of a test that was ended, above all. They would
// keep the ports of the next one.
func endOrphans() error {
	for {
		children, err := orphans()
		if err != nil || len(children) == 0 {
			return err
		}
		for _, pid := range children {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				return fmt.Errorf("end process %d: %w", pid, err)
			}
			if _, err := syscall.Wait4(pid, nil, 0, nil); err != nil {
				return fmt.Errorf("wait for process %d: %w", pid, err)
			}
		}
	}
}

// orphans are this process's children while no test runs.
func orphans() ([]int, error) {
	tasks, err := filepath.Glob("/proc/self/task/*/children")
	if err != nil {
		return nil, err
	}
	var all []int
	for _, task := range tasks {
		content, err := os.ReadFile(task)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue // the thread has ended
		}
		if err != nil {
			return nil, err
		}
		for _, field := range bytes.Fields(content) {
			pid, err := strconv.Atoi(string(field))
			if err != nil {
				return nil, err
			}
			all = append(all, pid)
		}
	}
	return all, nil
}
