package garbage

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/client/clienttest"
	"github.com/ctlplane/ctlplane/controller/loop"
	"github.com/ctlplane/ctlplane/controller/looptest"
)

// told collects events, by the namespace and name of what they are about.
type told struct {
	mu     sync.Mutex
	events map[string][]string
}

func (c *told) Event(obj runtime.Object, eventType, reason, _ string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	about := obj.(client.Object)
	key := about.GetNamespace() + "/" + about.GetName()
	c.events[key] = append(c.events[key], eventType+" "+reason)
}

// One reference that has an owner's UID and is wrong otherwise costs the one who bears it, and nobody else.
func TestOneWrongReferenceLeavesTheOwnersChildrenAlone(t *testing.T) {
	type wrong struct {
		namespace string
		change    func(*metav1.OwnerReference)
		gone      bool
		event     bool
	}
	for name, bad := range map[string]wrong{
		"other namespace": {"b", func(*metav1.OwnerReference) {}, true, true},
		"other name":      {"a", func(r *metav1.OwnerReference) { r.Name = "other" }, true, false},
		"other kind":      {"a", func(r *metav1.OwnerReference) { r.Kind = "Secret" }, true, false},
		"other group":     {"a", func(r *metav1.OwnerReference) { r.APIVersion, r.Kind = "apps/v1", "Deployment" }, true, false},
		"unknown kind":    {"a", func(r *metav1.OwnerReference) { r.Kind = "Widget" }, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				cluster := clienttest.New()
				told := &told{events: map[string][]string{}}
				informers := client.NewInformers(cluster)
				looptest.Start(t, informers, New(informers, cluster, loop.Options{Events: told}))
				for _, namespace := range []string{"a", "b"} {
					looptest.Create(t, cluster, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}})
				}
				owner := looptest.Create(t, cluster, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "owner"}})
				ref := metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: "owner", UID: owner.UID}
				child := func(namespace, name string, ref metav1.OwnerReference) {
					looptest.Create(t, cluster, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
						Namespace: namespace, Name: name, OwnerReferences: []metav1.OwnerReference{ref}}})
				}
				child("a", "good", ref)
				looptest.Settle(time.Second)
				misdirected := ref
				bad.change(&misdirected)
				child(bad.namespace, "bad", misdirected)
				child(bad.namespace, "worse", misdirected)
				looptest.Settle(time.Minute)
				looptest.Change(t, cluster, "a", "good", func(c *corev1.ConfigMap) { c.Labels = map[string]string{"t": "1"} })
				child("a", "later", ref)
				looptest.Settle(time.Hour)

				for _, name := range []string{"owner", "good", "later"} {
					if _, err := client.For[*corev1.ConfigMap](cluster).Get(t.Context(), "a", name); err != nil {
						t.Errorf("%s: %v", name, err)
					}
				}
				for _, name := range []string{"bad", "worse"} {
					_, err := client.For[*corev1.ConfigMap](cluster).Get(t.Context(), bad.namespace, name)
					if apierrors.IsNotFound(err) != bad.gone {
						t.Errorf("%s: gone is %v, want %v", name, !bad.gone, bad.gone)
					}
					events := told.events[bad.namespace+"/"+name]
					if got := len(events) == 1 && events[0] == "Warning OwnerRefInvalidNamespace"; got != bad.event || !bad.event && len(events) > 0 {
						t.Errorf("%s: events %v, want one of the wrong namespace: %v", name, events, bad.event)
					}
				}
			})
		})
	}
}

// Whoever only says that it depends on an owner doesn't hold the owner's deletion up.
func TestMisdirectedReferencesDontBlockTheOwner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		start(t, cluster)
		owner := looptest.Create(t, cluster, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "a", Name: "owner"}})
		looptest.Create(t, cluster, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "b", Name: "held", Finalizers: []string{"test/hold"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "owner", UID: owner.UID, BlockOwnerDeletion: ptr.To(true)}}}})
		looptest.Settle(time.Second)
		policy := metav1.DeletePropagationForeground
		if err := client.For[*corev1.ConfigMap](cluster).Delete(t.Context(), "a", "owner", metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
			t.Fatal(err)
		}
		looptest.Settle(time.Minute)
		if _, err := client.For[*corev1.ConfigMap](cluster).Get(t.Context(), "a", "owner"); !apierrors.IsNotFound(err) {
			t.Errorf("the owner is still there: %v", err)
		}
	})
}

// An object of the cluster can't have an owner in a namespace: nobody can tell which. It stays, and is told once.
func TestClusterScopedObjectsWithOwnersInNamespacesStay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := clienttest.New()
		told := &told{events: map[string][]string{}}
		informers := client.NewInformers(cluster)
		looptest.Start(t, informers, New(informers, cluster, loop.Options{Events: told}))
		looptest.Create(t, cluster, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n",
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "owner", UID: "u"}}}})
		for _, label := range []string{"1", "2", "3"} {
			looptest.Settle(time.Minute)
			looptest.Change(t, cluster, "", "n", func(n *corev1.Node) { n.Labels = map[string]string{"t": label} })
		}
		looptest.Settle(time.Minute)
		looptest.Get[*corev1.Node](t, cluster, "", "n")
		if events := told.events["/n"]; len(events) != 1 || events[0] != "Warning OwnerRefInvalidNamespace" {
			t.Errorf("events %v, want one of the wrong namespace", events)
		}
	})
}
