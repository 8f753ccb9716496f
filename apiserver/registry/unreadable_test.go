package registry_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/ctlplane/ctlplane/apiserver/registry"
	"github.com/ctlplane/ctlplane/apiserver/registry/registrytest"
	"github.com/ctlplane/ctlplane/client"
)

// TestUnreadableObjectIsNoDeletion: an object that could not be decoded was left out of lists, and told to watchers as deleted. A
// controller would have deleted what belongs to it.
func TestUnreadableObjectIsNoDeletion(t *testing.T) {
	f := newFixture(t, registry.Options{})
	maps := client.For[*corev1.ConfigMap](f)
	must(maps.Create(f.ctx, newConfigMap("a")))(t)
	must(maps.Create(f.ctx, newConfigMap("b")))(t)
	const key = "/registry/core/configmaps/default/b"
	w := must(f.Watch(f.ctx, configMaps, "default", metav1.ListOptions{}))(t)
	for range 3 { // with kube-root-ca.crt, or without
		if ev := next(t, w); ev.Object.(*corev1.ConfigMap).Name == "b" {
			break
		}
	}
	if err := f.storage.Put(key, "no object"); err != nil {
		t.Fatal(err)
	}
	for ev := range w.ResultChan() {
		if ev.Type == watch.Deleted {
			t.Fatalf("told as deleted: %v", ev.Object)
		}
	}
	wantUnreadable := func(r *registry.Registry) {
		t.Helper()
		tell := func(what string, err error) {
			t.Helper()
			if !apierrors.IsInternalError(err) || !strings.Contains(err.Error(), `configmaps "default/b" is stored in a form that can't be read`) || !strings.Contains(err.Error(), key) {
				t.Errorf("%s: %v", what, err)
			}
		}
		list := func(namespace, fields, version string) error {
			return second(r.List(f.ctx, configMaps, namespace, metav1.ListOptions{FieldSelector: fields, ResourceVersion: version}))
		}
		tell("list", list("default", "", ""))
		tell("list of what is at hand", list("default", "", "0"))
		tell("list of all namespaces", list("", "", ""))
		tell("list of it", list("default", "metadata.name=b", ""))
		tell("get", second(r.Get(f.ctx, configMaps, "default", "b", metav1.GetOptions{})))
		tell("get what is at hand", second(r.Get(f.ctx, configMaps, "default", "b", metav1.GetOptions{ResourceVersion: "0"})))
		tell("watch", second(r.Watch(f.ctx, configMaps, "default", metav1.ListOptions{})))
		tell("update", second(r.Update(f.ctx, configMaps, "default", "b", "", newConfigMap("b"), metav1.UpdateOptions{})))
		for what, err := range map[string]error{
			"list of another":           list("default", "metadata.name=a", ""),
			"list of another namespace": list("kube-system", "", ""),
			"get of another":            second(r.Get(f.ctx, configMaps, "default", "a", metav1.GetOptions{})),
		} {
			if err != nil {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	wantUnreadable(f.Registry)
	wantUnreadable(registrytest.New(t, f.storage, registry.Options{})) // which has never seen it readable
	if err := f.storage.Delete(key); err != nil {
		t.Fatal(err)
	}
	if err := second(f.List(f.ctx, configMaps, "default", metav1.ListOptions{})); err != nil {
		t.Errorf("list once it is gone: %v", err)
	}
	must(maps.Create(f.ctx, newConfigMap("b")))(t)
}
