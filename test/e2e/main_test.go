// Package e2e tests whole clusters of real processes as their users would: with kubectl, etcdctl, the
// etcd client and signals.
package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ctlplane/ctlplane/api/immutable"
	"github.com/ctlplane/ctlplane/dev"
)

// binary is the ctlplane that is tested, built by TestMain.
var binary string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	// The same binary that users get: static, so that it can also be the inside of an image.
	build := exec.Command("make", "-C", "../..", "build")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build: %v\n%s", err, out)
		return 1
	}
	var err error
	if binary, err = filepath.Abs("../../bin/ctlplane"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// Every process of every cluster ends when it finds that a cached object was changed.
	if err := os.Setenv(immutable.Variable, "1"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if err := checkRoom(os.TempDir()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	foreignSegments() // before there are any of ours
	return m.Run()
}

// checkRoom refuses a disk on which nodes would take no pods, for which every test would wait in vain.
func checkRoom(dir string) error {
	var disk unix.Statfs_t
	if err := unix.Statfs(dir, &disk); err != nil {
		return fmt.Errorf("%s: %w", dir, err)
	}
	if disk.Bavail*100 < disk.Blocks*12 {
		return fmt.Errorf("the disk of %s has less than 12 %% of its room left; with less than 10 %% nodes take no pods: make room", dir)
	}
	return nil
}

// patience bounds each wait of a test.
const patience = 60 * time.Second

// start brings up a cluster that ends with the test.
func start(t *testing.T, masters, nodes int, flags ...string) *dev.Cluster {
	t.Helper()
	return startBinary(t, binary, masters, nodes, flags...)
}

// startBinary is start with another build of the program.
func startBinary(t *testing.T, binary string, masters, nodes int, flags ...string) *dev.Cluster {
	t.Helper()
	// Not t.TempDir: its path holds the test's name, and sockets' paths must be short.
	dir, err := os.MkdirTemp("", "ctl-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	flags = append([]string{"--node-monitor-grace", "4s", "--pod-eviction-after", "2s"}, flags...)
	c, err := dev.Start(context.WithoutCancel(t.Context()), dev.Options{
		Dir: dir, Binary: binary, Masters: masters, Nodes: nodes, MasterFlags: flags,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Errorf("stop: %v", err)
		}
		if t.Failed() {
			showLogs(t, dir)
		}
		os.RemoveAll(dir)
	})
	return c
}

// showLogs prints the end of each process's log.
func showLogs(t *testing.T, dir string) {
	logs, _ := filepath.Glob(filepath.Join(dir, "logs", "*.log"))
	for _, path := range logs {
		content, _ := os.ReadFile(path)
		lines := strings.Split(string(content), "\n")
		t.Logf("%s:\n%s", filepath.Base(path), strings.Join(lines[max(0, len(lines)-60):], "\n"))
	}
}

// shell is a user's terminal at a cluster.
type shell struct {
	t    *testing.T
	env  []string
	path string // the program
}

// kubectl is the machine's own kubectl, as the cluster's admin.
func kubectl(t *testing.T, kubeconfig string) shell {
	home := t.TempDir() // its caches
	return shell{t: t, path: "kubectl", env: []string{"KUBECONFIG=" + kubeconfig, "HOME=" + home}}
}

// ctlplane is our own binary, as the cluster's admin. Its store commands are patient, as the machine may be busy.
func ctlplane(t *testing.T, kubeconfig string) shell {
	return shell{t: t, path: binary, env: []string{"KUBECONFIG=" + kubeconfig, "ETCDCTL_COMMAND_TIMEOUT=" + patience.String()}}
}

// try runs a command and answers what it printed, and its error with what it complained of.
func (s shell) try(input string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	command := exec.CommandContext(ctx, s.path, args...)
	command.Env = append(os.Environ(), s.env...)
	command.Stdin = strings.NewReader(input)
	var out, complaint bytes.Buffer
	command.Stdout, command.Stderr = &out, &complaint
	if err := command.Run(); err != nil {
		return out.String(), fmt.Errorf("%s %s: %w: %s", filepath.Base(s.path), strings.Join(args, " "), err, strings.TrimSpace(complaint.String()))
	}
	return out.String(), nil
}

// run runs a command that must succeed.
func (s shell) run(args ...string) string {
	s.t.Helper()
	return s.feed("", args...)
}

// feed runs a command that must succeed, with input.
func (s shell) feed(input string, args ...string) string {
	s.t.Helper()
	out, err := s.try(input, args...)
	if err != nil {
		s.t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// refuse runs a command that must fail, and whose complaint must hold all of the words.
func (s shell) refuse(input string, words []string, args ...string) {
	s.t.Helper()
	out, err := s.try(input, args...)
	if err == nil {
		s.t.Errorf("%s %s succeeded, it must not:\n%s", filepath.Base(s.path), strings.Join(args, " "), out)
		return
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			s.t.Errorf("the error does not say %q:\n%v", word, err)
		}
	}
}

// stream is a command that goes on printing.
type stream struct {
	t       *testing.T
	command *exec.Cmd
	lines   chan string
	seen    []string
}

// follow starts a command that goes on printing until it is stopped.
func (s shell) follow(args ...string) *stream {
	s.t.Helper()
	return s.talk(nil, args...)
}

// talk is follow of a command that reads input, which the caller may go on writing.
func (s shell) talk(input io.Reader, args ...string) *stream {
	s.t.Helper()
	command := exec.Command(s.path, args...)
	command.Stdin = input
	command.Env = append(os.Environ(), s.env...)
	out, err := command.StdoutPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		s.t.Fatal(err)
	}
	f := &stream{t: s.t, command: command, lines: make(chan string, 1024)}
	go func() {
		defer close(f.lines)
		for scanner := bufio.NewScanner(out); scanner.Scan(); {
			f.lines <- scanner.Text()
		}
	}()
	return f
}

// until reads on to a line that holds word.
func (f *stream) until(word string) {
	f.t.Helper()
	deadline := time.After(patience)
	for {
		select {
		case line, more := <-f.lines:
			if !more {
				f.t.Fatalf("%v ended before it printed %q; it printed:\n%s", f.command.Args, word, strings.Join(f.seen, "\n"))
			}
			f.seen = append(f.seen, line)
			if strings.Contains(line, word) {
				return
			}
		case <-deadline:
			f.t.Fatalf("%v did not print %q; it printed:\n%s", f.command.Args, word, strings.Join(f.seen, "\n"))
		}
	}
}

func (f *stream) stop() {
	_ = f.command.Process.Kill()
	for range f.lines { // to its end
	}
	_ = f.command.Wait() // killed
}

// contains fails the test unless the text holds all of the words.
func contains(t *testing.T, text string, words ...string) {
	t.Helper()
	for _, word := range words {
		if !strings.Contains(text, word) {
			t.Errorf("%q is not in:\n%s", word, text)
		}
	}
}

// eventually waits until condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.NewTimer(patience)
	defer deadline.Stop()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for !condition() {
		select {
		case <-deadline.C:
			t.Fatalf("waited %v for: %s", patience, what)
		case <-tick.C:
		}
	}
}
