package manager

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/client/clienttest"
	"github.com/ctlplane/ctlplane/controller/loop"
	"github.com/ctlplane/ctlplane/controller/looptest"
	"github.com/ctlplane/ctlplane/controller/podstate"
	"github.com/ctlplane/ctlplane/supervise"
)

// dev is about what a cluster for development runs with.
var dev = Options{
	ClusterCIDR:      netip.MustParsePrefix("10.42.0.0/16"),
	NodeMonitorGrace: 5 * time.Second,
	PodEvictionAfter: 2 * time.Second,
	RootCA:           []byte("PEM"),
}

// start runs the manager and returns what stops it and waits for it.
func start(t *testing.T, objects client.Objects, options Options) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Run(ctx, objects, options) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the manager ended with %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// nodes registers nodes that report every second as long as alive says so.
func nodes(t *testing.T, cluster client.Objects, alive func(name string) bool, names ...string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	for _, name := range names {
		looptest.Create(t, cluster, &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: name},
			Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}},
		})
		looptest.Create(t, cluster, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: name}})
		go func() {
			defer func() { done <- struct{}{} }()
			leases := client.For[*coordinationv1.Lease](cluster)
			for ctx.Err() == nil {
				if lease, err := leases.Get(ctx, corev1.NamespaceNodeLease, name); err == nil && alive(name) {
					lease = lease.DeepCopy()
					lease.Spec.RenewTime = ptr.To(metav1.NowMicro())
					if _, err := leases.Update(ctx, lease); err != nil && ctx.Err() == nil {
						t.Errorf("renewing the lease of %s: %v", name, err)
					}
				}
				select {
				case <-time.After(time.Second):
				case <-ctx.Done():
				}
			}
		}()
	}
	t.Cleanup(func() {
		cancel()
		for range names {
			<-done
		}
	})
}

func web(replicas int32) (*appsv1.Deployment, *corev1.Service) {
	labels := map[string]string{"app": "web"}
	return &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
			Spec: appsv1.DeploymentSpec{Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
				Template: looptest.Template("web", "image:1")},
		}, &corev1.Service{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
			Spec:       corev1.ServiceSpec{Selector: labels, Ports: []corev1.ServicePort{{Port: 80}}},
		}
}

func readyOn(t *testing.T, cluster client.Objects, node string) int {
	t.Helper()
	n := 0
	for _, pod := range looptest.List[*corev1.Pod](t, cluster, "default") {
		if podstate.Active(pod) && podstate.Ready(pod) && pod.Spec.NodeName == node {
			n++
		}
	}
	return n
}

// The whole path: a deployment's pods serve; their node dies; within 15 s others serve on another node.
func TestKilledNodesPodsRunElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		looptest.Create(t, cluster, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
		start(t, cluster, dev)
		var dead atomic.Bool // node a is, and what comes goes to b
		alive := func(name string) bool { return name != "a" || !dead.Load() }
		target := func() string {
			if dead.Load() {
				return "b"
			}
			return "a"
		}
		nodes(t, cluster, alive, "a", "b")
		looptest.RunPodsOn(t, cluster, looptest.Always(time.Second), target, alive)
		d, s := web(3)
		looptest.Create(t, cluster, d)
		looptest.Create(t, cluster, s)
		looptest.Settle(10 * time.Second)
		if n := readyOn(t, cluster, "a"); n != 3 {
			t.Fatalf("%d pods are ready on a, want 3", n)
		}
		if node := looptest.Get[*corev1.Node](t, cluster, "", "a"); node.Spec.PodCIDR == "" {
			t.Error("the node has no pod range")
		}
		dead.Store(true)
		looptest.Settle(15 * time.Second)
		if n := readyOn(t, cluster, "b"); n != 3 {
			t.Errorf("15 s after a died %d pods are ready on b, want 3", n)
		}
		for _, slice := range looptest.List[*discoveryv1.EndpointSlice](t, cluster, "default") {
			for _, endpoint := range slice.Endpoints {
				if *endpoint.NodeName == "a" && *endpoint.Conditions.Ready {
					t.Errorf("the service still leads to a pod on a: %s", endpoint.TargetRef.Name)
				}
			}
		}
		looptest.Settle(time.Minute)
		for _, pod := range looptest.List[*corev1.Pod](t, cluster, "default") {
			if pod.Spec.NodeName == "a" && pod.DeletionTimestamp == nil {
				t.Errorf("pod %s is not on its way out", pod.Name)
			}
		}
		if err := client.For[*corev1.Node](cluster).Delete(t.Context(), "", "a", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		looptest.Settle(2 * time.Minute)
		for _, pod := range looptest.List[*corev1.Pod](t, cluster, "default") {
			if pod.Spec.NodeName == "a" {
				t.Errorf("pod %s is still there, its node is not", pod.Name)
			}
		}
	})
}

// Leadership comes and goes: one manager after another takes the work up where it stands. When a manager has
// stopped nothing of it is left; else the bubble would not end.
func TestHandsOverMidRollout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		options := dev
		options.Metrics = loop.NewMetrics(prometheus.NewRegistry())
		looptest.RunPods(t, cluster, looptest.Always(2*time.Second))
		nodes(t, cluster, func(string) bool { return true }, "node")
		stop := start(t, cluster, options)
		looptest.Settle(time.Second)
		d, _ := web(4)
		looptest.Create(t, cluster, d)
		for i := range 6 {
			looptest.Settle(3 * time.Second)
			stop()
			looptest.Change(t, cluster, "default", "web", func(d *appsv1.Deployment) {
				d.Spec.Template.Spec.Containers[0].Image = fmt.Sprintf("image:%d", i)
			})
			stop = start(t, cluster, options)
		}
		looptest.Settle(time.Minute)
		status := looptest.Get[*appsv1.Deployment](t, cluster, "default", "web").Status
		if status.UpdatedReplicas != 4 || status.AvailableReplicas != 4 || status.Replicas != 4 {
			t.Errorf("status %+v, want four replicas, updated and available", status)
		}
		stop()
	})
}

// Stopping is clean at any moment of the start.
func TestStopsWhileItStarts(t *testing.T) {
	for _, after := range []time.Duration{0, time.Millisecond, 50 * time.Millisecond, 150 * time.Millisecond} {
		synctest.Test(t, func(t *testing.T) {
			stop := start(t, clienttest.New(), dev)
			time.Sleep(after)
			stop()
		})
	}
}

// A reference from another namespace to a deployment has whoever bears it deleted, and disturbs the deployment in nothing.
func TestWrongReferencesToADeploymentDontDisturbIt(t *testing.T) {
	for name, bad := range map[string]struct {
		namespace string
		change    func(*metav1.OwnerReference)
	}{
		"other namespace": {"b", func(*metav1.OwnerReference) {}},
		"other name":      {"default", func(r *metav1.OwnerReference) { r.Name = "other" }},
		"other kind":      {"default", func(r *metav1.OwnerReference) { r.Kind = "StatefulSet" }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cluster := clienttest.New()
				for _, namespace := range []string{"default", "b"} {
					looptest.Create(t, cluster, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
				}
				nodes(t, cluster, func(string) bool { return true }, "a")
				start(t, cluster, dev)
				looptest.RunPodsOn(t, cluster, looptest.Always(time.Second), func() string { return "a" }, func(string) bool { return true })
				d, _ := web(3)
				d = looptest.Create(t, cluster, d)
				looptest.Settle(time.Minute)
				before := podUIDs(t, cluster)
				sets := looptest.List[*appsv1.ReplicaSet](t, cluster, "default")
				if len(before) != 3 || len(sets) != 1 {
					t.Fatalf("%d pods of %d sets, want 3 of 1", len(before), len(sets))
				}
				ref := *metav1.NewControllerRef(d, appsv1.SchemeGroupVersion.WithKind("Deployment"))
				bad.change(&ref)
				stray := looptest.ReplicaSet("stray", 0)
				stray.Namespace = bad.namespace
				stray.Labels = map[string]string{"app": "web"}
				stray.OwnerReferences = []metav1.OwnerReference{ref}
				looptest.Create(t, cluster, stray)
				looptest.Settle(time.Minute)
				looptest.Change(t, cluster, "default", sets[0].Name, func(s *appsv1.ReplicaSet) { s.Annotations["t"] = "1" })
				looptest.Settle(time.Hour)
				if after := podUIDs(t, cluster); !maps.Equal(before, after) {
					t.Errorf("the pods are %v, they were %v", after, before)
				}
				if now := looptest.Get[*appsv1.ReplicaSet](t, cluster, "default", sets[0].Name); now.UID != sets[0].UID {
					t.Errorf("the set %s has been replaced", now.Name)
				}
			})
		})
	}
}

func podUIDs(t *testing.T, cluster client.Objects) map[types.UID]bool {
	t.Helper()
	uids := map[types.UID]bool{}
	for _, pod := range looptest.List[*corev1.Pod](t, cluster, "default") {
		uids[pod.UID] = true
	}
	return uids
}

// TestControllerThatEndedIsStartedAgain has one controller end while all others run on, and be made anew.
func TestControllerThatEndedIsStartedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		options := dev
		options.Loops = supervise.NewLoops(slog.New(slog.DiscardHandler), nil)
		set := newSet(cluster, options)
		ended := 0
		for _, c := range set.controllers {
			if c.name == "serviceaccount-controller" {
				c.first = endsAtOnce{c.first, &ended}
			}
		}
		ctx, cancel := context.WithCancel(t.Context())
		var running sync.WaitGroup
		running.Go(func() { set.runAll(ctx) })
		looptest.Settle(0)
		if err := options.Loops.Err(); err == nil || !strings.HasPrefix(err.Error(), "serviceaccount-controller ended (1 in a row): panic in serviceaccount-controller: not today") {
			t.Errorf("the failing loop is not told: %v", err)
		}
		looptest.Create(t, cluster, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "n"}})
		looptest.Settle(5 * time.Minute)
		if _, err := client.For[*corev1.ServiceAccount](cluster).Get(ctx, "n", "default"); err != nil {
			t.Errorf("the controller does not work again: %v", err)
		}
		if err := options.Loops.Err(); err != nil || ended != 1 {
			t.Errorf("afterwards: %v; it ended %d times", err, ended)
		}
		cancel()
		running.Wait()
	})
}

// endsAtOnce is a controller with a fault.
type endsAtOnce struct {
	runner
	count *int
}

func (e endsAtOnce) Run(ctx context.Context) error {
	*e.count++
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_ = e.runner.Run(ended) // releases what it holds
	panic("not today")
}
