package replicaset

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/client/clienttest"
	"github.com/ctlplane/ctlplane/controller/loop"
	"github.com/ctlplane/ctlplane/controller/looptest"
	"github.com/ctlplane/ctlplane/controller/podstate"
)

func start(t *testing.T, objects client.Objects) {
	informers := client.NewInformers(objects)
	looptest.Start(t, informers, New(informers, objects, loop.Options{Workers: 4}))
}

func activePods(t *testing.T, objects client.Objects) []*corev1.Pod {
	return slices.DeleteFunc(looptest.List[*corev1.Pod](t, objects, "default"),
		func(pod *corev1.Pod) bool { return !podstate.Active(pod) })
}

func TestScalesUpAndDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		start(t, cluster)
		set := looptest.Create(t, cluster, looptest.ReplicaSet("web", 5))
		looptest.Settle(0)
		pods := activePods(t, cluster)
		if len(pods) != 5 {
			t.Fatalf("%d pods, want 5", len(pods))
		}
		for _, pod := range pods {
			if ref := metav1.GetControllerOf(pod); ref == nil || ref.UID != set.UID || !*ref.BlockOwnerDeletion {
				t.Errorf("pod %s has controller %v, want the set", pod.Name, ref)
			}
		}
		ready := pods[2].Name
		looptest.Change(t, cluster, "default", ready, func(p *corev1.Pod) { looptest.MakeReady(p, "a", metav1.Now()) })
		looptest.Change(t, cluster, "default", "web", func(rs *appsv1.ReplicaSet) { rs.Spec.Replicas = ptr.To[int32](1) })
		looptest.Settle(0)
		if pods = activePods(t, cluster); len(pods) != 1 || pods[0].Name != ready {
			t.Fatalf("left with %d pods, want only the ready one", len(pods))
		}
		status := looptest.Get[*appsv1.ReplicaSet](t, cluster, "default", "web").Status
		if status.Replicas != 1 || status.ReadyReplicas != 1 || status.AvailableReplicas != 1 || status.ObservedGeneration != 2 {
			t.Errorf("status %+v, want one ready and available replica", status)
		}
	})
}

func TestAdoptsAndReleases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		start(t, cluster)
		orphan := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "orphan", Labels: map[string]string{"app": "web"}}}
		looptest.Create(t, cluster, orphan)
		looptest.Settle(0)
		set := looptest.Create(t, cluster, looptest.ReplicaSet("web", 2))
		looptest.Settle(0)
		if ref := metav1.GetControllerOf(looptest.Get[*corev1.Pod](t, cluster, "default", "orphan")); ref == nil || ref.UID != set.UID {
			t.Fatalf("the orphan's controller is %v, want the set", ref)
		}
		looptest.Change(t, cluster, "default", "orphan", func(p *corev1.Pod) { p.Labels["app"] = "debug" })
		looptest.Settle(0)
		if ref := metav1.GetControllerOf(looptest.Get[*corev1.Pod](t, cluster, "default", "orphan")); ref != nil {
			t.Errorf("the pod was relabelled and still has controller %v", ref)
		}
		if n := len(activePods(t, cluster)); n != 3 {
			t.Errorf("%d pods, want the set's two and the released one", n)
		}
	})
}

func TestAvailabilityTakesMinReadySeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		start(t, cluster)
		set := looptest.ReplicaSet("web", 1)
		set.Spec.MinReadySeconds = 60
		looptest.Create(t, cluster, set)
		looptest.Settle(0)
		pod := activePods(t, cluster)[0]
		looptest.Change(t, cluster, "default", pod.Name, func(p *corev1.Pod) { looptest.MakeReady(p, "a", metav1.Now()) })
		looptest.Settle(59 * time.Second)
		if status := looptest.Get[*appsv1.ReplicaSet](t, cluster, "default", "web").Status; status.ReadyReplicas != 1 || status.AvailableReplicas != 0 {
			t.Errorf("after 59 s: %+v, want it ready and not available", status)
		}
		looptest.Settle(2 * time.Second)
		if status := looptest.Get[*appsv1.ReplicaSet](t, cluster, "default", "web").Status; status.AvailableReplicas != 1 {
			t.Errorf("after 61 s: %+v, want it available", status)
		}
	})
}

// A refused template is tried once a round and not once a replica, and the set says why.
func TestRefusedTemplate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		var refused atomic.Int32
		allow := cluster.OnRequest(func(verb, resource, _, _ string) error {
			if verb == "create" && resource == "pods" {
				refused.Add(1)
				return fmt.Errorf("over quota")
			}
			return nil
		})
		start(t, cluster)
		looptest.Create(t, cluster, looptest.ReplicaSet("web", 100))
		synctest.Wait()
		if refused := refused.Load(); refused > 2 { // one, and one when the status that tells of it comes back
			t.Errorf("%d attempts at once, want no more than 2", refused)
		}
		conditions := looptest.Get[*appsv1.ReplicaSet](t, cluster, "default", "web").Status.Conditions
		if len(conditions) != 1 || conditions[0].Reason != "FailedCreate" {
			t.Errorf("conditions %+v, want ReplicaFailure", conditions)
		}
		allow()
		looptest.Settle(time.Minute)
		if n := len(activePods(t, cluster)); n != 100 {
			t.Errorf("%d pods, want 100", n)
		}
		if conditions := looptest.Get[*appsv1.ReplicaSet](t, cluster, "default", "web").Status.Conditions; len(conditions) != 0 {
			t.Errorf("conditions %+v, want none", conditions)
		}
	})
}

// Pods that their node rejects are replaced ever more slowly, not in a loop as fast as the machine can.
func TestRejectedPodsAreReplacedWithBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		start(t, cluster)
		looptest.Create(t, cluster, looptest.ReplicaSet("web", 2))
		reject := func() {
			looptest.Settle(0)
			for _, pod := range activePods(t, cluster) {
				looptest.Change(t, cluster, "default", pod.Name, func(p *corev1.Pod) {
					p.Status.Phase, p.Status.Reason = corev1.PodFailed, "OutOfcpu"
				})
			}
		}
		for range 600 { // ten minutes
			for range 3 {
				reject()
			}
			looptest.Settle(time.Second)
		}
		if n := len(looptest.List[*corev1.Pod](t, cluster, "default")); n > 40 {
			t.Errorf("%d pods were made in ten minutes in which all were rejected, want a few", n)
		}
		looptest.Settle(longestWait)
		if n := len(activePods(t, cluster)); n != 2 {
			t.Errorf("%d pods once nodes admit them, want 2", n)
		}
	})
}

// However late the caches are, a set never has more pods than it ever asked for, loses none that it
// wants to keep, and ends with exactly what it asks for.
func TestStaleCachesMakeNoDuplicates(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { staleRun(t, seed) })
		})
	}
}

func staleRun(t *testing.T, seed uint64) {
	cluster := clienttest.New()
	start(t, &looptest.Stale{Objects: cluster, Delay: looptest.RandomDelay(seed, 3*time.Second)})
	random := rand.New(rand.NewPCG(seed, 1))
	want := int32(5)
	looptest.Create(t, cluster, looptest.ReplicaSet("web", want))
	most, least := want, int32(0)
	for range 30 {
		switch random.IntN(4) {
		case 0:
			before := want
			want = random.Int32N(8)
			looptest.Change(t, cluster, "default", "web", func(rs *appsv1.ReplicaSet) { rs.Spec.Replicas = ptr.To(want) })
			most, least = max(before, want, most), min(least, want)
		case 1:
			if pods := activePods(t, cluster); len(pods) > 0 {
				victim := pods[random.IntN(len(pods))]
				if err := client.For[*corev1.Pod](cluster).Delete(t.Context(), "default", victim.Name, metav1.DeleteOptions{}); err != nil {
					t.Fatal(err)
				}
			}
		case 2:
			if pods := activePods(t, cluster); len(pods) > 0 {
				looptest.Change(t, cluster, "default", pods[random.IntN(len(pods))].Name, func(p *corev1.Pod) {
					looptest.MakeReady(p, "", metav1.Now())
				})
			}
		case 3:
			looptest.Settle(time.Duration(random.Int64N(int64(time.Second))))
		}
		synctest.Wait()
		if n := int32(len(activePods(t, cluster))); n > most {
			t.Fatalf("%d pods at once, but never more than %d were asked for", n, most)
		}
	}
	looptest.Settle(5 * time.Minute)
	if n := int32(len(activePods(t, cluster))); n != want {
		t.Fatalf("%d pods in the end, want %d", n, want)
	}
}
