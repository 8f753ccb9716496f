package ownership_test

import (
	"context"
	"testing"
	"testing/synctest"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/client/clienttest"
	"github.com/ctlplane/ctlplane/controller/cached"
	"github.com/ctlplane/ctlplane/controller/looptest"
	"github.com/ctlplane/ctlplane/controller/ownership"
)

var kind = appsv1.SchemeGroupVersion.WithKind("ReplicaSet")

// TestWhoOwnsWhat resolves the claim of an owner on pods of all sorts.
func TestWhoOwnsWhat(t *testing.T) {
	tests := []struct {
		name string
		// live is what the store knows of the owner when it is asked.
		live func(*appsv1.ReplicaSet)
		want map[string]bool // pod → owned
		fail bool
	}{
		{"alive", func(*appsv1.ReplicaSet) {}, map[string]bool{"own": true, "relabelled": false, "orphan": true, "ended": false, "others": false, "unrelated": false}, false},
		{"deleted meanwhile", func(rs *appsv1.ReplicaSet) { rs.DeletionTimestamp = ptr.To(metav1.Now()) }, map[string]bool{"own": true, "orphan": false}, true},
		{"replaced meanwhile", func(rs *appsv1.ReplicaSet) { rs.UID = "successor" }, map[string]bool{"own": true, "orphan": false}, true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cluster := clienttest.New()
				informers := client.NewInformers(cluster)
				cached.IndexByController[*corev1.Pod](informers)
				pods := cached.New[*corev1.Pod](informers, cluster)
				looptest.Start(t, informers)
				owner := looptest.Create(t, cluster, looptest.ReplicaSet("web", 1))
				other := looptest.Create(t, cluster, looptest.ReplicaSet("other", 1))
				addPods(t, cluster, owner, other)
				looptest.Settle(0)
				claim := ownership.Claim[*corev1.Pod]{
					Owner: owner, Kind: kind, Selector: labels.SelectorFromSet(labels.Set{"app": "web"}), Owned: pods,
					Alive: func(context.Context) (client.Object, error) {
						live := owner.DeepCopy()
						test.live(live)
						return live, nil
					},
				}
				owned, err := claim.Resolve(t.Context())
				if (err != nil) != test.fail {
					t.Fatalf("error %v", err)
				}
				for name, want := range test.want {
					if got := metav1.IsControlledBy(looptest.Get[*corev1.Pod](t, cluster, "default", name), owner); got != want {
						t.Errorf("pod %s: owned is %v, want %v", name, got, want)
					}
				}
				if !test.fail && len(owned) != 2 {
					t.Errorf("%d pods are owned, want 2", len(owned))
				}
			})
		})
	}
}

func addPods(t *testing.T, cluster client.Objects, owner, other *appsv1.ReplicaSet) {
	t.Helper()
	add := func(name, app string, owner *appsv1.ReplicaSet) {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": app}}}
		if owner != nil {
			pod.OwnerReferences = []metav1.OwnerReference{ownership.Reference(owner, kind)}
		}
		looptest.Create(t, cluster, pod)
	}
	add("own", "web", owner)
	add("relabelled", "debug", owner)
	add("orphan", "web", nil)
	add("others", "web", other)
	add("unrelated", "db", nil)
	add("ended", "web", nil)
	looptest.Change(t, cluster, "default", "ended", func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded })
}
