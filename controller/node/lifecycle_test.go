package node

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/client/clienttest"
	"github.com/ctlplane/ctlplane/controller/loop"
	"github.com/ctlplane/ctlplane/controller/looptest"
)

const grace = 40 * time.Second

func start(t *testing.T, objects client.Objects) (stop func()) {
	informers := client.NewInformers(objects)
	return looptest.Start(t, informers, New(informers, objects, Options{
		ClusterCIDR: netip.MustParsePrefix("10.42.0.0/16"),
		Grace:       grace,
		EvictAfter:  30 * time.Second,
	}, loop.Options{}))
}

// addNode makes a node that is ready; it reports no more until beat does it for it.
func addNode(t *testing.T, cluster client.Objects, name string) {
	t.Helper()
	looptest.Create(t, cluster, &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{
			{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: metav1.Now()}}},
	})
	looptest.Create(t, cluster, &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: name},
		Spec:       coordinationv1.LeaseSpec{RenewTime: ptr.To(metav1.NowMicro())},
	})
}

// beat lets nodes report every ten seconds for a time.
func beat(t *testing.T, cluster client.Objects, d time.Duration, names ...string) {
	t.Helper()
	for range int(d / (10 * time.Second)) {
		looptest.Settle(10 * time.Second)
		for _, name := range names {
			looptest.Change(t, cluster, corev1.NamespaceNodeLease, name, func(l *coordinationv1.Lease) {
				l.Spec.RenewTime = ptr.To(metav1.NowMicro())
			})
		}
	}
	looptest.Settle(0)
}

func addPod(t *testing.T, cluster client.Objects, name, node string, tolerations ...corev1.Toleration) {
	t.Helper()
	looptest.Create(t, cluster, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec:       corev1.PodSpec{NodeName: node, Tolerations: tolerations},
	})
	looptest.Change(t, cluster, "default", name, func(p *corev1.Pod) { looptest.MakeReady(p, node, metav1.Now()) })
}

func readyStatus(t *testing.T, cluster client.Objects, name string) corev1.ConditionStatus {
	t.Helper()
	return readiness(looptest.Get[*corev1.Node](t, cluster, "", name))
}

func taintKeys(t *testing.T, cluster client.Objects, name string) []string {
	t.Helper()
	var keys []string
	for _, taint := range looptest.Get[*corev1.Node](t, cluster, "", name).Spec.Taints {
		keys = append(keys, taint.Key+":"+string(taint.Effect))
	}
	slices.Sort(keys)
	return keys
}

func gone(t *testing.T, cluster client.Objects, pod string) bool {
	t.Helper()
	_, err := client.For[*corev1.Pod](cluster).Get(t.Context(), "default", pod)
	return apierrors.IsNotFound(err)
}

func TestSilentNodeLosesItsPodsAndRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		start(t, cluster)
		addNode(t, cluster, "a")
		addNode(t, cluster, "b")
		addPod(t, cluster, "plain", "a")
		addPod(t, cluster, "patient", "a", corev1.Toleration{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, TolerationSeconds: ptr.To[int64](600)})
		addPod(t, cluster, "faithful", "a", corev1.Toleration{Operator: corev1.TolerationOpExists})
		beat(t, cluster, time.Minute, "a", "b")
		if got := readyStatus(t, cluster, "a"); got != corev1.ConditionTrue {
			t.Fatalf("a node that reports is %s", got)
		}
		if keys := taintKeys(t, cluster, "a"); len(keys) != 0 {
			t.Fatalf("a ready node has taints %v", keys)
		}
		beat(t, cluster, 50*time.Second, "b")
		if got := readyStatus(t, cluster, "a"); got != corev1.ConditionUnknown {
			t.Fatalf("after 50 s of silence the node is %s", got)
		}
		want := []string{corev1.TaintNodeUnreachable + ":NoExecute", corev1.TaintNodeUnreachable + ":NoSchedule"}
		if keys := taintKeys(t, cluster, "a"); !slices.Equal(keys, want) {
			t.Errorf("taints %v, want %v", keys, want)
		}
		plain := looptest.Get[*corev1.Pod](t, cluster, "default", "plain")
		if plain.Status.Conditions[0].Status != corev1.ConditionFalse || plain.DeletionTimestamp != nil {
			t.Errorf("the pod of a silent node is %+v, want it not ready and not yet deleted", plain.Status.Conditions)
		}
		beat(t, cluster, 30*time.Second, "b")
		if looptest.Get[*corev1.Pod](t, cluster, "default", "plain").DeletionTimestamp == nil {
			t.Error("the pod wasn't evicted")
		}
		beat(t, cluster, 40*time.Second, "b")
		if gone(t, cluster, "plain") {
			t.Error("the pod is gone though its node may still be running it")
		}
		if looptest.Get[*corev1.Pod](t, cluster, "default", "patient").DeletionTimestamp != nil {
			t.Error("the pod that tolerates ten minutes was evicted early")
		}
		beat(t, cluster, 11*time.Minute, "b")
		leaves := func(name string) bool {
			return looptest.Get[*corev1.Pod](t, cluster, "default", name).DeletionTimestamp != nil
		}
		if !leaves("patient") || leaves("faithful") {
			t.Error("after ten minutes only the pod that tolerates everything should stay")
		}
		looptest.Change(t, cluster, "", "a", func(n *corev1.Node) {
			n.Status.Conditions[0].Status = corev1.ConditionTrue
			n.Status.Conditions[0].LastHeartbeatTime = metav1.Now()
		})
		beat(t, cluster, 20*time.Second, "a", "b")
		if keys := taintKeys(t, cluster, "a"); len(keys) != 0 || readyStatus(t, cluster, "a") != corev1.ConditionTrue {
			t.Errorf("the node is back and has taints %v", keys)
		}
	})
}

// A controller that starts late, as after an outage of all masters, gives every node its full grace.
func TestStartCountsFromWhenItSawTheHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		addNode(t, cluster, "a")
		addNode(t, cluster, "b")
		addPod(t, cluster, "pod", "a")
		stop := start(t, cluster)
		beat(t, cluster, 80*time.Second, "b")
		if got := readyStatus(t, cluster, "a"); got != corev1.ConditionUnknown {
			t.Fatalf("the node is %s", got)
		}
		stop()
		looptest.Settle(time.Hour)
		start(t, cluster)
		looptest.Settle(20 * time.Second)
		if got := readyStatus(t, cluster, "b"); got != corev1.ConditionTrue {
			t.Errorf("right after the start b is %s", got)
		}
		beat(t, cluster, 60*time.Second, "b")
		if got := readyStatus(t, cluster, "b"); got != corev1.ConditionTrue {
			t.Errorf("b is %s though it reports", got)
		}
	})
}

func TestRestartDoesNotEvictAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		addNode(t, cluster, "a")
		addNode(t, cluster, "b")
		addPod(t, cluster, "pod", "a")
		stop := start(t, cluster)
		beat(t, cluster, 60*time.Second, "b") // a is unreachable, its pod not yet evicted
		stop()
		looptest.Settle(time.Hour)
		start(t, cluster)
		looptest.Settle(30 * time.Second)
		if gone(t, cluster, "pod") || looptest.Get[*corev1.Pod](t, cluster, "default", "pod").DeletionTimestamp != nil {
			t.Error("the pod was evicted before its node had time to report")
		}
	})
}

func TestNothingIsEvictedWhileNoNodeIsReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		start(t, cluster)
		addNode(t, cluster, "a")
		addNode(t, cluster, "b")
		addPod(t, cluster, "pod", "a")
		looptest.Settle(time.Hour)
		if readyStatus(t, cluster, "a") != corev1.ConditionUnknown || gone(t, cluster, "pod") {
			t.Fatal("want the nodes unreachable and the pod still there")
		}
		looptest.Change(t, cluster, "", "b", func(n *corev1.Node) {
			n.Status.Conditions[0].Status = corev1.ConditionTrue
			n.Status.Conditions[0].LastHeartbeatTime = metav1.Now()
		})
		beat(t, cluster, 20*time.Second, "b")
		if !gone(t, cluster, "pod") && looptest.Get[*corev1.Pod](t, cluster, "default", "pod").DeletionTimestamp == nil {
			t.Error("b is back, and the pod of a wasn't evicted")
		}
	})
}

func TestTaintsFollowTheState(t *testing.T) {
	now := time.Unix(1000, 0)
	node := &corev1.Node{
		Spec: corev1.NodeSpec{Unschedulable: true, Taints: []corev1.Taint{
			{Key: "user", Effect: corev1.TaintEffectNoSchedule},
			{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoExecute, TimeAdded: ptr.To(metav1.Unix(1, 0))},
			{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute},
		}},
		Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{
			{Type: corev1.NodeReady, Status: corev1.ConditionFalse},
			{Type: corev1.NodeDiskPressure, Status: corev1.ConditionTrue},
		}},
	}
	taints, changed := nextTaints(node, now)
	want := []string{"user:NoSchedule", corev1.TaintNodeNotReady + ":NoExecute", corev1.TaintNodeNotReady + ":NoSchedule",
		corev1.TaintNodeUnschedulable + ":NoSchedule", corev1.TaintNodeDiskPressure + ":NoSchedule"}
	var got []string
	for _, taint := range taints {
		got = append(got, taint.Key+":"+string(taint.Effect))
	}
	if !changed || !slices.Equal(got, want) {
		t.Errorf("taints %v, want %v", got, want)
	}
	if taints[1].TimeAdded.Unix() != 1 {
		t.Error("the taint that stayed lost its time")
	}
	node.Spec.Taints = taints
	if _, changed := nextTaints(node, now); changed {
		t.Error("right taints were changed")
	}
}

// A taint that says no time, as kubectl's, put the end of a bounded stay off with every look.
func TestStayEndsUnderATaintWithoutATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		addNode(t, cluster, "a")
		bounded := corev1.Toleration{Key: "foo", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: ptr.To[int64](15)}
		addPod(t, cluster, "pod", "a", bounded)
		start(t, cluster)
		beat(t, cluster, 10*time.Second, "a")
		looptest.Change(t, cluster, "", "a", func(n *corev1.Node) {
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "foo", Value: "x", Effect: corev1.TaintEffectNoExecute})
		})
		beat(t, cluster, 10*time.Second, "a")
		if gone(t, cluster, "pod") || looptest.Get[*corev1.Pod](t, cluster, "default", "pod").DeletionTimestamp != nil {
			t.Fatal("the pod was evicted before its time")
		}
		beat(t, cluster, 10*time.Second, "a")
		if !gone(t, cluster, "pod") && looptest.Get[*corev1.Pod](t, cluster, "default", "pod").DeletionTimestamp == nil {
			t.Error("the pod stays longer than it tolerates the taint")
		}
	})
}

// A node that never reported has no condition with a time of the year 1.
func TestNodeThatNeverReportedHasTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		node := looptest.Create(t, cluster, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "mute", CreationTimestamp: metav1.Now()}})
		start(t, cluster)
		looptest.Settle(2 * grace)
		ready := condition(looptest.Get[*corev1.Node](t, cluster, "", "mute"), corev1.NodeReady)
		if ready == nil || ready.Status != corev1.ConditionUnknown || ready.LastHeartbeatTime.IsZero() || ready.LastTransitionTime.IsZero() {
			t.Errorf("condition %+v, want one that is unknown since some time", ready)
		} else if !ready.LastHeartbeatTime.Equal(&node.CreationTimestamp) {
			t.Errorf("the heartbeat is of %v, the node of %v", ready.LastHeartbeatTime, node.CreationTimestamp)
		}
	})
}

// Caches that lag behind the nodes' heartbeats make no node silent.
func TestLateCachesMakeNoNodeSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		addNode(t, cluster, "a")
		addNode(t, cluster, "b")
		addPod(t, cluster, "pod", "a")
		var lags atomic.Bool
		late := func(resource string) time.Duration {
			if resource == "leases" && lags.Load() {
				return time.Hour
			}
			return 0
		}
		start(t, &looptest.Stale{Objects: cluster, Delay: late})
		beat(t, cluster, time.Minute, "a", "b")
		lags.Store(true)
		beat(t, cluster, 10*time.Minute, "a", "b")
		for _, name := range []string{"a", "b"} {
			if got := readyStatus(t, cluster, name); got != corev1.ConditionTrue {
				t.Errorf("node %s reports and is %s", name, got)
			}
		}
		if gone(t, cluster, "pod") || looptest.Get[*corev1.Pod](t, cluster, "default", "pod").DeletionTimestamp != nil {
			t.Error("the pod was evicted from a node that reports")
		}
	})
}
