// Package realetcd builds and runs etcd itself, for tests that compare with it or take over from it.
package realetcd

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// patience bounds the wait until one is ready.
const patience = 60 * time.Second

// binary is where TestMain has built it.
var binary string

// TestMain builds etcd, runs a package's tests, and returns their exit code.
func TestMain(m *testing.M) int {
	dir, err := os.MkdirTemp("", "realetcd-")
	if err == nil {
		defer os.RemoveAll(dir)
		err = build(context.Background(), filepath.Join(dir, "etcd"))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "build etcd:", err)
		return 1
	}
	return m.Run()
}

func build(ctx context.Context, to string) error {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}").Output()
	if err != nil {
		return fmt.Errorf("find the module's directory: %w", err)
	}
	command := exec.CommandContext(ctx, "go", "build", "-o", to, ".")
	// A module of its own: nothing of etcd's server is linked into ctlplane.
	command.Dir = filepath.Join(strings.TrimSpace(string(root)), "bench", "peers")
	if out, err := command.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	binary = to
	return nil
}

// URLs are the flags that say where a member of a cluster of one is, but for those of its clients' TLS.
func URLs(name, scheme, client, peer string) []string {
	return []string{
		"--name", name, "--listen-client-urls", scheme + "://" + client, "--advertise-client-urls", scheme + "://" + client,
		"--listen-peer-urls", "http://" + peer, "--initial-advertise-peer-urls", "http://" + peer, "--initial-cluster", name + "=http://" + peer,
	}
}

// Start starts an etcd with flags, on data of its own. It returns once that is ready, and ends it with the test.
func Start(t testing.TB, flags ...string) *os.Process {
	t.Helper()
	command := exec.Command(binary, append([]string{"--data-dir", t.TempDir(), "--log-level", "info", "--unsafe-no-fsync"}, flags...)...)
	logs, err := command.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	ready, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		told := false
		for lines := bufio.NewScanner(logs); lines.Scan(); {
			if !told && strings.Contains(lines.Text(), "ready to serve client requests") {
				told = true
				close(ready)
			}
		}
	}()
	t.Cleanup(func() {
		_ = command.Process.Kill()
		<-ended
		_ = command.Wait() // killed
	})
	select {
	case <-ready:
	case <-ended:
		t.Fatal("etcd ended before it was ready")
	case <-time.After(patience):
		t.Fatal("etcd was not ready in time")
	}
	return command.Process
}
