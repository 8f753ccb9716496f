package registry_test

import (
	"fmt"
	"runtime"
	"strconv"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	testclock "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/apiserver/registry"
	"github.com/ctlplane/ctlplane/apiserver/registry/registrytest"
	"github.com/ctlplane/ctlplane/client"
)

func (f *fixture) watch(t *testing.T, opts metav1.ListOptions) watch.Interface {
	t.Helper()
	w := must(f.Watch(f.ctx, configMaps, "default", opts))(t)
	t.Cleanup(w.Stop)
	return w
}

func expect(t *testing.T, w watch.Interface, kind watch.EventType, name string) metav1.Object {
	t.Helper()
	ev := next(t, w)
	obj, err := meta.Accessor(ev.Object)
	if err != nil {
		t.Fatalf("%s: %v", ev.Type, apierrors.FromObject(ev.Object))
	}
	if ev.Type != kind || obj.GetName() != name {
		t.Fatalf("got %s of %q, wanted %s of %q", ev.Type, obj.GetName(), kind, name)
	}
	return obj
}

// TestWatchResumesFromTheStore starts watches further back than memory goes.
func TestWatchResumesFromTheStore(t *testing.T) {
	f := newFixture(t, registry.Options{History: 2})
	made := f.fill(t, 6)
	maps := client.For[*corev1.ConfigMap](f)
	if err := maps.Delete(f.ctx, "default", "a0", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w := f.watch(t, metav1.ListOptions{ResourceVersion: made[0].ResourceVersion})
	for i := 1; i < 6; i++ {
		expect(t, w, watch.Added, fmt.Sprintf("a%d", i))
	}
	expect(t, w, watch.Deleted, "a0")
	f.fill2(t)
	expect(t, w, watch.Added, "b")
}

// TestWatchResumesAfterRestart starts watches at a revision from before the registry was loaded.
func TestWatchResumesAfterRestart(t *testing.T) {
	f := newFixture(t, registry.Options{})
	made := f.fill(t, 3)
	second := &fixture{Registry: registrytest.New(t, f.storage, registry.Options{}), storage: f.storage, ctx: f.ctx}
	w := second.watch(t, metav1.ListOptions{ResourceVersion: made[0].ResourceVersion})
	expect(t, w, watch.Added, "a1")
	expect(t, w, watch.Added, "a2")
	f.fill2(t)
	expect(t, w, watch.Added, "b")
}

func TestWatchOfCompactedRevision(t *testing.T) {
	f := newFixture(t, registry.Options{History: 2})
	made := f.fill(t, 6)
	f.list(t, metav1.ListOptions{}) // the cache has seen, and forgotten, the first of them
	if err := f.storage.Compact(f.storage.Revision()); err != nil {
		t.Fatal(err)
	}
	w := f.watch(t, metav1.ListOptions{ResourceVersion: made[0].ResourceVersion})
	ev := next(t, w)
	if ev.Type != watch.Error || !apierrors.IsResourceExpired(apierrors.FromObject(ev.Object)) {
		t.Fatalf("got %s: %v", ev.Type, ev.Object)
	}
	if _, open := <-w.ResultChan(); open {
		t.Error("the watch goes on after its error")
	}
	if _, err := f.Watch(f.ctx, configMaps, "default", metav1.ListOptions{ResourceVersion: "99999"}); !isTooLarge(err) {
		t.Errorf("watch from the future: %v", err)
	}
}

func TestWatchListEndsWithBookmark(t *testing.T) {
	f := newFixture(t, registry.Options{})
	f.fill(t, 2)
	yes := true
	w := f.watch(t, metav1.ListOptions{
		SendInitialEvents: &yes, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, AllowWatchBookmarks: true})
	expect(t, w, watch.Added, "a0")
	expect(t, w, watch.Added, "a1")
	mark := expect(t, w, watch.Bookmark, "")
	if mark.GetAnnotations()[metav1.InitialEventsAnnotationKey] != "true" || mark.GetResourceVersion() == "" {
		t.Errorf("bookmark: %+v", mark)
	}
	w = f.watch(t, metav1.ListOptions{SendInitialEvents: &yes, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan})
	expect(t, w, watch.Added, "a0")
	expect(t, w, watch.Added, "a1")
	f.fill2(t)
	expect(t, w, watch.Added, "b") // and no bookmark before it
	for _, bad := range []metav1.ListOptions{
		{SendInitialEvents: &yes, AllowWatchBookmarks: true},
		{ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan},
	} {
		if _, err := f.Watch(f.ctx, configMaps, "default", bad); !apierrors.IsInvalid(err) {
			t.Errorf("%+v: %v", bad, err)
		}
	}
}

func TestWatchOptionsThatMakeNoSense(t *testing.T) {
	f := newFixture(t, registry.Options{})
	for _, c := range []struct {
		opts metav1.ListOptions
		want func(error) bool
	}{
		{metav1.ListOptions{TimeoutSeconds: ptr.To[int64](-1)}, apierrors.IsBadRequest},
		{metav1.ListOptions{Limit: -1}, apierrors.IsBadRequest},
		{metav1.ListOptions{Continue: "token"}, apierrors.IsBadRequest},
		{metav1.ListOptions{ResourceVersion: "1", ResourceVersionMatch: "Exact"}, apierrors.IsInvalid},
		{metav1.ListOptions{SendInitialEvents: ptr.To(true), AllowWatchBookmarks: true}, apierrors.IsInvalid},
		{metav1.ListOptions{SendInitialEvents: ptr.To(false), ResourceVersionMatch: "Exact"}, apierrors.IsInvalid},
		{metav1.ListOptions{SendInitialEvents: ptr.To(true), ResourceVersionMatch: "NotOlderThan", Continue: "token"}, apierrors.IsBadRequest},
	} {
		w, err := f.Watch(f.ctx, configMaps, "default", c.opts)
		if !c.want(err) {
			t.Errorf("%+v: %v", c.opts, err)
		}
		if err == nil {
			w.Stop()
		}
	}
}

func TestBookmarksTellProgress(t *testing.T) {
	clock := testclock.NewFakeClock(time.Now())
	f := newFixture(t, registry.Options{Clock: clock})
	f.fill(t, 1)
	w := f.watch(t, metav1.ListOptions{ResourceVersion: "0", AllowWatchBookmarks: true})
	first := expect(t, w, watch.Added, "a0")
	must(client.For[*corev1.Secret](f).Create(f.ctx, &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "s", Namespace: "default"}}))(t)
	f.list(t, metav1.ListOptions{}) // the cache has seen it
	// Others wait for the clock too: it is moved on until this watch, once it waits, has seen it.
	stop := make(chan struct{})
	moved := make(chan struct{})
	go func() {
		defer close(moved)
		for tick := time.NewTicker(100 * time.Millisecond); ; {
			select {
			case <-stop:
				tick.Stop()
				return
			case <-tick.C:
				clock.Step(2 * time.Minute)
			}
		}
	}()
	mark := expect(t, w, watch.Bookmark, "")
	close(stop)
	<-moved
	if mark.GetResourceVersion() <= first.GetResourceVersion() {
		t.Errorf("bookmark at %s, the object was at %s", mark.GetResourceVersion(), first.GetResourceVersion())
	}
}

func TestWatchTimesOut(t *testing.T) {
	f := newFixture(t, registry.Options{})
	one := int64(1)
	w := f.watch(t, metav1.ListOptions{TimeoutSeconds: &one})
	select {
	case ev, open := <-w.ResultChan():
		if open {
			t.Errorf("got %v", ev)
		}
	case <-time.After(eventually):
		t.Error("the watch did not end")
	}
}

// TestSlowWatcherIsEnded leaves a watch unread while more happens than its queue holds.
func TestSlowWatcherIsEnded(t *testing.T) {
	f := newFixture(t, registry.Options{})
	f.fill(t, 1)
	slow := f.watch(t, metav1.ListOptions{})
	maps := client.For[*corev1.ConfigMap](f)
	for i := range registry.QueueLimit + 64 {
		obj := newConfigMap("a0")
		obj.Data["key"] = strconv.Itoa(i)
		must(maps.Update(f.ctx, obj))(t)
	}
	f.list(t, metav1.ListOptions{})
	for ev := range slow.ResultChan() {
		if ev.Type == watch.Error {
			if !apierrors.IsResourceExpired(apierrors.FromObject(ev.Object)) {
				t.Errorf("got %v", ev.Object)
			}
			return
		}
	}
	t.Error("the watch ended without an error")
}

func TestInformerOverTheRegistry(t *testing.T) {
	f := newFixture(t, registry.Options{})
	f.fill(t, 3)
	informers := client.NewInformers(f)
	informer := client.InformerFor[*corev1.ConfigMap](informers)
	done := make(chan struct{})
	go func() { defer close(done); informers.Run(f.ctx) }()
	t.Cleanup(func() { <-done })
	if !cache.WaitForCacheSync(f.ctx.Done(), informer.HasSynced) {
		t.Fatal("no sync")
	}
	f.fill2(t)
	for len(informer.GetStore().ListKeys()) != 4 {
		runtime.Gosched()
	}
}
