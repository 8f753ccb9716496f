package registry_test

import (
	"errors"
	"fmt"
	"strconv"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/apiserver/registry"
	"github.com/ctlplane/ctlplane/client"
)

var configMaps = corev1.SchemeGroupVersion.WithResource("configmaps")

// fill makes configmaps a0, a1, … in namespace default.
func (f *fixture) fill(t *testing.T, n int) []*corev1.ConfigMap {
	t.Helper()
	var made []*corev1.ConfigMap
	for i := range n {
		made = append(made, must(client.For[*corev1.ConfigMap](f).Create(f.ctx, newConfigMap("a"+strconv.Itoa(i))))(t))
	}
	return made
}

func (f *fixture) list(t *testing.T, opts metav1.ListOptions) *corev1.ConfigMapList {
	t.Helper()
	return must(f.List(f.ctx, configMaps, "default", opts))(t).(*corev1.ConfigMapList)
}

func names(list *corev1.ConfigMapList) string {
	var s string
	for i := range list.Items {
		s += list.Items[i].Name + " "
	}
	return s
}

func TestPagesAreOfOneRevision(t *testing.T) {
	f := newFixture(t, registry.Options{})
	f.fill(t, 5)
	first := f.list(t, metav1.ListOptions{Limit: 2})
	if names(first) != "a0 a1 " || first.Continue == "" || first.RemainingItemCount == nil || *first.RemainingItemCount != 3 {
		t.Fatalf("first page: %s, %d remaining", names(first), first.RemainingItemCount)
	}
	must(client.For[*corev1.ConfigMap](f).Create(f.ctx, newConfigMap("a22")))(t)
	if err := client.For[*corev1.ConfigMap](f).Delete(f.ctx, "default", "a3", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	second := f.list(t, metav1.ListOptions{Limit: 2, Continue: first.Continue})
	third := f.list(t, metav1.ListOptions{Limit: 2, Continue: second.Continue})
	if names(second) != "a2 a3 " || names(third) != "a4 " || third.Continue != "" {
		t.Errorf("pages: %s; %s", names(second), names(third))
	}
	if second.ResourceVersion != first.ResourceVersion || *second.RemainingItemCount != 1 {
		t.Errorf("second page: version %s, not %s; %d remaining", second.ResourceVersion, first.ResourceVersion, *second.RemainingItemCount)
	}
	selected := f.list(t, metav1.ListOptions{Limit: 1, FieldSelector: "metadata.name!=a0"})
	if names(selected) != "a1 " || selected.Continue == "" || selected.RemainingItemCount != nil {
		t.Errorf("selected page: %s, %v remaining", names(selected), selected.RemainingItemCount)
	}
}

func TestListOfAnEarlierVersion(t *testing.T) {
	f := newFixture(t, registry.Options{})
	made := f.fill(t, 3)
	exact := metav1.ListOptions{ResourceVersion: made[1].ResourceVersion, ResourceVersionMatch: metav1.ResourceVersionMatchExact}
	if list := f.list(t, exact); names(list) != "a0 a1 " || list.ResourceVersion != made[1].ResourceVersion {
		t.Errorf("exact list: %s at %s", names(list), list.ResourceVersion)
	}
	f.list(t, metav1.ListOptions{}) // the cache is past it now
	if list := f.list(t, metav1.ListOptions{ResourceVersion: made[1].ResourceVersion}); names(list) != "a0 a1 a2 " {
		t.Errorf("list not older than: %s", names(list))
	}
	first := f.list(t, metav1.ListOptions{Limit: 1})
	revision := must(strconv.ParseInt(first.ResourceVersion, 10, 64))(t)
	f.fill2(t)
	if err := f.storage.Compact(f.storage.Revision()); err != nil {
		t.Fatal(err)
	}
	if _, err := f.List(f.ctx, configMaps, "default", exact); !apierrors.IsResourceExpired(err) {
		t.Errorf("exact list of a compacted revision: %v", err)
	}
	_, err := f.List(f.ctx, configMaps, "default", metav1.ListOptions{Limit: 1, Continue: first.Continue})
	var status apierrors.APIStatus
	if !apierrors.IsResourceExpired(err) || !errors.As(err, &status) || status.Status().Continue == "" {
		t.Fatalf("continued list of compacted revision %d: %v", revision, err)
	}
	if rest := f.list(t, metav1.ListOptions{Continue: status.Status().Continue}); names(rest) != "a1 a2 b " {
		t.Errorf("inconsistent rest of the list: %s", names(rest))
	}
}

// fill2 makes a configmap that sorts after those of fill.
func (f *fixture) fill2(t *testing.T) {
	t.Helper()
	must(client.For[*corev1.ConfigMap](f).Create(f.ctx, newConfigMap("b")))(t)
}

func TestListOptionsThatMakeNoSense(t *testing.T) {
	f := newFixture(t, registry.Options{})
	f.fill(t, 2)
	page := f.list(t, metav1.ListOptions{Limit: 1}).Continue
	future := fmt.Sprint(f.storage.Revision() + 100)
	for _, c := range []struct {
		opts metav1.ListOptions
		want func(error) bool
	}{
		{metav1.ListOptions{ResourceVersion: "abc"}, apierrors.IsBadRequest},
		{metav1.ListOptions{ResourceVersion: "-1"}, apierrors.IsBadRequest},
		{metav1.ListOptions{ResourceVersion: future}, isTooLarge},
		{metav1.ListOptions{ResourceVersion: future, ResourceVersionMatch: "Exact"}, isTooLarge},
		{metav1.ListOptions{ResourceVersionMatch: "Exact"}, apierrors.IsInvalid},
		{metav1.ListOptions{ResourceVersion: "0", ResourceVersionMatch: "Exact"}, apierrors.IsInvalid},
		{metav1.ListOptions{ResourceVersion: "1", ResourceVersionMatch: "Roughly"}, apierrors.IsInvalid},
		{metav1.ListOptions{Continue: "no token"}, apierrors.IsBadRequest},
		{metav1.ListOptions{LabelSelector: "a in ("}, apierrors.IsBadRequest},
		{metav1.ListOptions{FieldSelector: "data.key=value"}, apierrors.IsBadRequest},
		{metav1.ListOptions{Limit: -1}, apierrors.IsBadRequest},
		{metav1.ListOptions{TimeoutSeconds: ptr.To[int64](-1)}, apierrors.IsBadRequest},
		{metav1.ListOptions{SendInitialEvents: ptr.To(true)}, apierrors.IsInvalid},
		{metav1.ListOptions{SendInitialEvents: ptr.To(false)}, apierrors.IsInvalid},
		{metav1.ListOptions{Continue: page, ResourceVersion: "1"}, apierrors.IsBadRequest},
		{metav1.ListOptions{Continue: page, ResourceVersion: "1", ResourceVersionMatch: "Exact"}, apierrors.IsInvalid},
	} {
		if _, err := f.List(f.ctx, configMaps, "default", c.opts); !c.want(err) {
			t.Errorf("%+v: %v", c.opts, err)
		}
	}
}

func isTooLarge(err error) bool {
	return apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge) && apierrors.IsTimeout(err)
}

func TestListSeesForeignWrites(t *testing.T) {
	f := newFixture(t, registry.Options{})
	f.fill(t, 1)
	for i := range 50 { // writes that are no objects move the store's revision and nothing else
		if err := f.storage.Put("elsewhere", strconv.Itoa(i)); err != nil {
			t.Fatal(err)
		}
		list := f.list(t, metav1.ListOptions{})
		if got := must(strconv.ParseInt(list.ResourceVersion, 10, 64))(t); got < f.storage.Revision() {
			t.Fatalf("a consistent list at %d, the store was at %d", got, f.storage.Revision())
		}
	}
}
