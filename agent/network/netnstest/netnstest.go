// Package netnstest makes network namespaces for tests: machines, pods and what is between them. It needs root, and the command ip.
package netnstest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/vishvananda/netns"
)

// New makes a namespace whose loopback device is up, and takes it away when the test ends. Its name tells the role that it plays.
func New(t *testing.T, role string) (name string) {
	t.Helper()
	name = fmt.Sprintf("ctltest-%s-%d", role, os.Getpid())
	IP(t, "netns", "add", name)
	t.Cleanup(func() { IP(t, "netns", "del", name) })
	IP(t, "-n", name, "link", "set", "lo", "up")
	return name
}

// Path is where a namespace is found as a file.
func Path(name string) string { return filepath.Join("/run/netns", name) }

// Do runs f on a thread that is inside a namespace.
func Do(t *testing.T, name string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // never unlocked: the thread dies with the goroutine
		namespace, err := netns.GetFromPath(Path(name))
		if err != nil {
			t.Error(err)
			return
		}
		defer namespace.Close()
		if err := netns.Set(namespace); err != nil {
			t.Error(err)
			return
		}
		f()
	}()
	<-done
}

// IP runs the command ip.
func IP(t *testing.T, args ...string) {
	t.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		t.Fatalf("ip %v: %v: %s", args, err, out)
	}
}
