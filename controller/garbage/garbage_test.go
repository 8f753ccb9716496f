package garbage

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/client/clienttest"
	"github.com/ctlplane/ctlplane/controller/loop"
	"github.com/ctlplane/ctlplane/controller/looptest"
)

func start(t *testing.T, objects client.Objects) {
	informers := client.NewInformers(objects)
	looptest.Start(t, informers, New(informers, objects, loop.Options{}))
}

// tree makes a deployment, a set that it owns, and two pods that the set owns.
func tree(t *testing.T, cluster client.Objects) {
	t.Helper()
	d := looptest.Create(t, cluster, &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}})
	set := looptest.Create(t, cluster, &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web-1",
		OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(d, appsv1.SchemeGroupVersion.WithKind("Deployment"))}}})
	for i := range 2 {
		looptest.Create(t, cluster, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: fmt.Sprintf("web-1-%d", i),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(set, appsv1.SchemeGroupVersion.WithKind("ReplicaSet"))}}})
	}
}

func deleteWeb(t *testing.T, cluster client.Objects, policy metav1.DeletionPropagation) {
	t.Helper()
	if err := client.For[*appsv1.Deployment](cluster).Delete(t.Context(), "default", "web", metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
		t.Fatal(err)
	}
}

func counts(t *testing.T, cluster client.Objects) [3]int {
	t.Helper()
	return [3]int{len(looptest.List[*appsv1.Deployment](t, cluster, "default")),
		len(looptest.List[*appsv1.ReplicaSet](t, cluster, "default")), len(looptest.List[*corev1.Pod](t, cluster, "default"))}
}

func TestPolicies(t *testing.T) {
	for policy, want := range map[metav1.DeletionPropagation][3]int{
		metav1.DeletePropagationBackground: {0, 0, 0},
		metav1.DeletePropagationForeground: {0, 0, 0},
		metav1.DeletePropagationOrphan:     {0, 1, 2},
	} {
		t.Run(string(policy), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cluster := clienttest.New()
				start(t, &looptest.Stale{Objects: cluster, Delay: looptest.RandomDelay(1, time.Second)})
				tree(t, cluster)
				deleteWeb(t, cluster, policy)
				looptest.Settle(5 * time.Minute)
				if got := counts(t, cluster); got != want {
					t.Fatalf("deployments, sets and pods: %v, want %v", got, want)
				}
				if policy == metav1.DeletePropagationOrphan {
					if refs := looptest.Get[*appsv1.ReplicaSet](t, cluster, "default", "web-1").OwnerReferences; len(refs) != 0 {
						t.Errorf("the orphan has owners %v", refs)
					}
				}
			})
		})
	}
}

// In the foreground an owner goes last, also when what it owns takes its time.
func TestForegroundWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		start(t, cluster)
		tree(t, cluster)
		looptest.Change(t, cluster, "default", "web-1-0", func(p *corev1.Pod) { p.Finalizers = []string{"test/hold"} })
		looptest.Settle(time.Second)
		deleteWeb(t, cluster, metav1.DeletePropagationForeground)
		looptest.Settle(5 * time.Minute)
		if got := counts(t, cluster); got != [3]int{1, 1, 1} {
			t.Fatalf("deployments, sets and pods: %v, want the chain to the held pod", got)
		}
		looptest.Change(t, cluster, "default", "web-1-0", func(p *corev1.Pod) { p.Finalizers = nil })
		looptest.Settle(time.Minute)
		if got := counts(t, cluster); got != [3]int{} {
			t.Errorf("deployments, sets and pods: %v, want none", got)
		}
	})
}

func TestOwnersThatAreNotWhatTheySeem(t *testing.T) {
	stranger := func(name string) metav1.OwnerReference {
		return metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: name, UID: "of-nobody"}
	}
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		living := looptest.Create(t, cluster, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "living"}})
		solid := metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "living", UID: living.UID}
		pods := map[string][]metav1.OwnerReference{
			"successor": {stranger("living")},
			"dangling":  {stranger("never")},
			"both":      {stranger("never"), solid},
			"foreign":   {{APIVersion: "example.com/v1", Kind: "Widget", Name: "w", UID: "w"}},
		}
		for name, refs := range pods {
			looptest.Create(t, cluster, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, OwnerReferences: refs}})
		}
		start(t, cluster)
		looptest.Settle(time.Minute)
		for name, wantGone := range map[string]bool{"successor": true, "dangling": true, "both": false, "foreign": false} {
			_, err := client.For[*corev1.Pod](cluster).Get(t.Context(), "default", name)
			if apierrors.IsNotFound(err) != wantGone {
				t.Errorf("pod %s: gone is %v, want %v", name, !wantGone, wantGone)
			}
		}
		if refs := looptest.Get[*corev1.Pod](t, cluster, "default", "both").OwnerReferences; len(refs) != 1 || refs[0].UID != living.UID {
			t.Errorf("references %v, want only the living owner", refs)
		}
	})
}

// A dependent that comes before the caches know its owner is not garbage.
func TestLateOwnerInTheCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		late := func(resource string) time.Duration {
			if resource == "replicasets" || resource == "deployments" {
				return time.Minute
			}
			return 0
		}
		start(t, &looptest.Stale{Objects: cluster, Delay: late})
		looptest.Settle(time.Hour)
		tree(t, cluster)
		looptest.Settle(time.Hour)
		if got := counts(t, cluster); got != [3]int{1, 1, 2} {
			t.Errorf("deployments, sets and pods: %v, want all", got)
		}
	})
}

func TestGracefulPodsAreLeftToTheirNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		start(t, cluster)
		tree(t, cluster)
		looptest.Change(t, cluster, "default", "web-1-0", func(p *corev1.Pod) {
			p.Spec.NodeName = "a"
			p.Spec.TerminationGracePeriodSeconds = ptr.To[int64](30)
		})
		deleteWeb(t, cluster, metav1.DeletePropagationBackground)
		looptest.Settle(time.Minute)
		pod := looptest.Get[*corev1.Pod](t, cluster, "default", "web-1-0")
		if pod.DeletionTimestamp == nil || *pod.DeletionGracePeriodSeconds != 30 {
			t.Errorf("the pod's deletion is %v with grace %v", pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds)
		}
	})
}
