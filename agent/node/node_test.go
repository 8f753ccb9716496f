package node

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testclock "k8s.io/utils/clock/testing"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/client/clienttest"
)

type bench struct {
	t       *testing.T
	clock   *testclock.FakeClock
	cluster *clienttest.Cluster
	broken  atomic.Bool
	news    chan struct{} // Ready may answer otherwise
}

func start(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, clock: testclock.NewFakeClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)), cluster: clienttest.New(), news: make(chan struct{}, 1)}
	b.cluster.Add(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: corev1.NamespaceNodeLease}})
	return b
}

func (b *bench) run(version string) (stop func()) {
	dir := b.t.TempDir()
	capacity, err := Capacity(dir)
	if err != nil {
		b.t.Fatal(err)
	}
	r := New(Config{
		Name: "n1", IP: "192.0.2.1", Port: 10250, Dir: dir, Labels: map[string]string{"zone": "a"}, Capacity: capacity, Allocatable: capacity, Version: version,
		Ready: func(context.Context) error {
			if b.broken.Load() {
				return errors.New("the network is not there")
			}
			return nil
		},
		ReadyChanged: b.news, Images: func(context.Context) []corev1.ContainerImage { return nil }, Heartbeat: 5 * time.Second,
		Objects: b.cluster, Clock: b.clock, Logger: slog.New(slog.DiscardHandler),
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { _ = r.Run(ctx); close(done) }()
	stop = func() { cancel(); <-done }
	b.t.Cleanup(stop)
	return stop
}

// until lets time pass until ok.
func (b *bench) until(what string, ok func() bool) {
	b.t.Helper()
	for end := time.Now().Add(60 * time.Second); !ok(); b.clock.Step(time.Second) {
		if time.Now().After(end) {
			b.t.Fatalf("it did not happen: %s", what)
		}
		ctx, cancel := context.WithTimeout(b.t.Context(), 5*time.Millisecond)
		_ = b.cluster.WaitUntil(ctx, ok)
		cancel()
	}
}

func (b *bench) node() *corev1.Node {
	node, err := client.For[*corev1.Node](b.cluster).Get(b.t.Context(), "", "n1")
	if err != nil {
		return &corev1.Node{}
	}
	return node
}

func (b *bench) renewed() time.Time {
	lease, err := client.For[*coordinationv1.Lease](b.cluster).Get(b.t.Context(), corev1.NamespaceNodeLease, "n1")
	if err != nil || lease.Spec.RenewTime == nil {
		return time.Time{}
	}
	return lease.Spec.RenewTime.Time
}

func is(node *corev1.Node, kind corev1.NodeConditionType) corev1.ConditionStatus {
	for _, c := range node.Status.Conditions {
		if c.Type == kind {
			return c.Status
		}
	}
	return ""
}

func TestNodeRegistersAndBeats(t *testing.T) {
	b := start(t)
	b.run("v1.2.3+dirty")
	b.until("registration", func() bool { return is(b.node(), corev1.NodeReady) == corev1.ConditionTrue })
	if labels := b.node().Labels; labels["zone"] != "a" || labels["ctlplane.io/version"] != "v1.2.3_dirty" {
		t.Errorf("labels %v", labels)
	}
	first := b.renewed()
	b.until("a later renewal", func() bool { return b.renewed().After(first) })
	b.broken.Store(true)
	b.until("not ready", func() bool { return is(b.node(), corev1.NodeReady) == corev1.ConditionFalse })
}

// TestNodeIsReadyWithoutWaitingForAHeartbeat never lets the clock go on: a heartbeat would never come.
func TestNodeIsReadyWithoutWaitingForAHeartbeat(t *testing.T) {
	b := start(t)
	b.broken.Store(true)
	var conflicts atomic.Int32
	b.cluster.OnRequest(func(verb, resource, _, name string) error {
		// Controllers write to a node that is new: its range, its taints.
		if verb == "update" && resource == "nodes/status" && conflicts.Add(1)%2 == 1 {
			return apierrors.NewConflict(corev1.Resource("nodes"), name, errors.New("somebody else wrote"))
		}
		return nil
	})
	b.run("v1")
	wait := func(what string, status corev1.ConditionStatus) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
		defer cancel()
		if err := b.cluster.WaitUntil(ctx, func() bool { return is(b.node(), corev1.NodeReady) == status }); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	wait("the first report", corev1.ConditionFalse)
	b.broken.Store(false)
	b.news <- struct{}{}
	wait("the network is up", corev1.ConditionTrue)
	b.broken.Store(true)
	b.news <- struct{}{}
	wait("the network is down", corev1.ConditionFalse)
}

func TestNodeKeepsWhatOthersSet(t *testing.T) {
	b := start(t)
	stop := b.run("v1")
	b.until("registration", func() bool { return is(b.node(), corev1.NodeReady) != "" })
	stop()
	changed := b.node().DeepCopy()
	changed.Spec.PodCIDR, changed.Spec.Unschedulable, changed.Labels["extra"] = "10.42.7.0/24", true, "x"
	if _, err := client.For[*corev1.Node](b.cluster).Update(t.Context(), changed); err != nil {
		t.Fatal(err)
	}
	b.run("v2")
	b.until("the new version", func() bool { return b.node().Status.NodeInfo.KubeletVersion == "v2" })
	if node := b.node(); node.Spec.PodCIDR != "10.42.7.0/24" || !node.Spec.Unschedulable || node.Labels["extra"] != "x" || node.Labels["ctlplane.io/version"] != "v2" {
		t.Errorf("node %+v %+v", node.Labels, node.Spec)
	}
}

func TestHeartbeatGoesOnWhenMastersAreBack(t *testing.T) {
	b := start(t)
	var away atomic.Bool
	b.cluster.OnRequest(func(string, string, string, string) error {
		if away.Load() {
			return apierrors.NewInternalError(errors.New("the masters are away"))
		}
		return nil
	})
	b.run("v1")
	b.until("a lease", func() bool { return !b.renewed().IsZero() })
	away.Store(true)
	b.clock.Step(time.Minute)
	away.Store(false)
	last := b.renewed()
	b.until("a renewal", func() bool { return b.renewed().After(last) })
}

// TestLeaseGoesWithItsNode looks that the lease is the Node object's: who deletes the one is rid of the other.
func TestLeaseGoesWithItsNode(t *testing.T) {
	b := start(t)
	b.run("v1.2.3")
	var lease *coordinationv1.Lease
	b.until("there is a lease", func() (ok bool) {
		var err error
		lease, err = client.For[*coordinationv1.Lease](b.cluster).Get(t.Context(), corev1.NamespaceNodeLease, "n1")
		return err == nil
	})
	// From its first write on: the node may leave before there is another.
	want := metav1.OwnerReference{APIVersion: "v1", Kind: "Node", Name: "n1", UID: b.node().UID}
	if len(lease.OwnerReferences) != 1 || lease.OwnerReferences[0] != want || want.UID == "" {
		t.Errorf("the lease's owners are %v, want %v", lease.OwnerReferences, want)
	}
}
