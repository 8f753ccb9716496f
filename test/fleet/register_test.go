package fleet_test

import (
	"context"
	"io"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ctlplane/ctlplane/api/immutable"
	"github.com/ctlplane/ctlplane/bench/freeport"
	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/logging"
	"github.com/ctlplane/ctlplane/master"
	"github.com/ctlplane/ctlplane/test/fleet"
)

// patience bounds the test, which takes a fraction of it.
const patience = 5 * time.Minute

// TestManyNodesRegister under pods that no node is large enough for, which are looked at again with each of them. The master died: the
// write of a node's status changed the cached node while the scheduler, the node controller and other writes read it. With the
// race detector that is a report; with package immutable, a change of what is shared is the end of the test.
func TestManyNodesRegister(t *testing.T) {
	const nodes, pending, namespaces = 2000, 200, 4
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	f := fleet.New(startMaster(t, ctx))
	must(t, f.Namespaces(ctx, namespaces))
	must(t, f.Pods(ctx, pending, namespaces, "1000"))
	must(t, f.Register(ctx, nodes))
	must(t, immutable.Check())
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// startMaster runs a whole master in the test's process, and answers a connection to it.
func startMaster(t *testing.T, ctx context.Context) client.Objects {
	addresses, err := freeport.Addresses(3)
	must(t, err)
	kubeconfig := make(chan string, 1)
	config := master.Config{
		Name: "m1", DataDir: filepath.Join(t.TempDir(), "m1"), Token: "a-token-that-is-long-enough",
		PeerAddr: addresses[0], ClientAddr: addresses[1], APIAddr: addresses[2],
		Logger: slog.New(logging.NewLimiter(slog.NewTextHandler(io.Discard, nil))),
		Ready:  func(r master.Ready) { kubeconfig <- r.Kubeconfig },
	}
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- master.Run(running, config) }()
	var path string
	select {
	case path = <-kubeconfig:
	case err := <-ended:
		t.Fatalf("the master has ended: %v", err)
	case <-ctx.Done():
		t.Fatal("the master is not ready")
	}
	t.Cleanup(func() {
		stop()
		must(t, <-ended)
	})
	access, err := client.ReadKubeconfig(path)
	must(t, err)
	settings, err := access.Config()
	must(t, err)
	connection, err := client.Connect(ctx, settings)
	must(t, err)
	t.Cleanup(func() { _ = connection.Close() })
	objects := connection.Objects()
	_, _, err = client.For[*corev1.Node](objects).List(ctx, "", metav1.ListOptions{})
	must(t, err)
	return objects
}
