package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/vishvananda/netns"

	"github.com/ctlplane/ctlplane/dev"
)

// TestServiceTrafficOutlivesTheAgent asks a service all the time, each request on a connection of its own, while the agent
// of the node is stopped, killed and started again.
func TestServiceTrafficOutlivesTheAgent(t *testing.T) {
	c := start(t, 1, 1)
	k := kubectl(t, c.Kubeconfig())
	k.run("apply", "-f", example)
	k.run("rollout", "status", "deployment/web", "--timeout=60s")
	node := c.Nodes[0]
	users := askAlways(t, node, "http://"+k.run("get", "service", "web", "-o", "jsonpath={.spec.clusterIP}")+"/")
	for _, end := range []func(*dev.Process){(*dev.Process).Terminate, (*dev.Process).Kill} {
		users.more(50)
		end(node.Process)
		users.more(200)
		if err := c.StartNode(node); err != nil {
			t.Fatal(err)
		}
		users.more(200)
		k.run("wait", "--for=condition=Ready", "node/n1", "--timeout=60s")
	}
	// The agent that runs now is in charge of the rules.
	k.run("delete", "service", "web")
	eventually(t, "the service to be gone from the node", func() bool { return users.failed() != nil })
	if users.answered.Load() == 0 {
		t.Error("no request was answered")
	}
}

// traffic asks one URL from inside a node's network, again and again until a request fails.
type traffic struct {
	t        *testing.T
	answered atomic.Int64
	failure  atomic.Pointer[error]
}

func askAlways(t *testing.T, node *dev.Node, url string) *traffic {
	t.Helper()
	users := &traffic{t: t}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	t.Cleanup(func() { cancel(); <-done })
	asker := &http.Client{Timeout: patience / 3, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (conn net.Conn, err error) {
			dialed := make(chan error)
			go func() {
				runtime.LockOSThread() // never unlocked: the thread, which is in the node's namespace, ends with the goroutine
				namespace, err := netns.GetFromPath(filepath.Join("/run/netns", node.Namespace))
				if err == nil {
					err = netns.Set(namespace)
					namespace.Close()
				}
				if err == nil {
					conn, err = (&net.Dialer{FallbackDelay: -1}).DialContext(ctx, network, address)
				}
				dialed <- err
			}()
			err = <-dialed
			return conn, err
		},
	}}
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if err := get(ctx, asker, url); err != nil && ctx.Err() == nil {
				users.failure.Store(&err)
				return
			}
			users.answered.Add(1)
		}
	}()
	return users
}

func get(ctx context.Context, asker *http.Client, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := asker.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, answer.Status)
	}
	return nil
}

func (u *traffic) failed() error {
	if err := u.failure.Load(); err != nil {
		return *err
	}
	return nil
}

// more waits for n more answers, none of them a failure.
func (u *traffic) more(n int64) {
	u.t.Helper()
	want, begin := u.answered.Load()+n, time.Now()
	eventually(u.t, fmt.Sprint(n, " more answers"), func() bool { return u.failed() != nil || u.answered.Load() >= want })
	if err := u.failed(); err != nil {
		u.t.Fatalf("a request through the service failed after %d answers, %v into this step: %v", u.answered.Load(), time.Since(begin), err)
	}
}
