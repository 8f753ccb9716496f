package clienttest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	testclock "k8s.io/utils/clock/testing"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/client/clienttest"
)

var (
	podResource        = corev1.SchemeGroupVersion.WithResource("pods")
	deploymentResource = appsv1.SchemeGroupVersion.WithResource("deployments")
)

func testPod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "one"}}},
	}
}

// must is for requests that can't fail unless the test is wrong.
func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func expectError(t *testing.T, err error, is func(error) bool, what string) {
	t.Helper()
	if !is(err) {
		t.Errorf("got error %v, expected %s", err, what)
	}
}

func TestGenerateName(t *testing.T) {
	ctx, pods := t.Context(), client.For[*corev1.Pod](clienttest.New())
	names := map[string]bool{}
	for range 3 {
		pod := testPod("")
		pod.GenerateName = "web-"
		names[must[*corev1.Pod](t)(pods.Create(ctx, pod)).Name] = true
	}
	if len(names) != 3 || !names["web-00001"] {
		t.Errorf("generated %v", names)
	}
	_, err := pods.Create(ctx, testPod(""))
	expectError(t, err, apierrors.IsInvalid, "Invalid")
}

func next(t *testing.T, w watch.Interface) (watch.EventType, client.Object) {
	t.Helper()
	select {
	case event, ok := <-w.ResultChan():
		if !ok {
			t.Fatal("the watch has ended")
		}
		obj, _ := event.Object.(client.Object)
		return event.Type, obj
	case <-time.After(60 * time.Second):
		t.Fatal("no event")
	}
	return "", nil
}

func TestInformerFollowsThroughDisconnect(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	c := clienttest.New()
	c.Add(testPod("a"))
	informers := client.NewInformers(c)
	added := make(chan string, 10)
	informer := client.InformerFor[*corev1.Pod](informers)
	must[cache.ResourceEventHandlerRegistration](t)(informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) { added <- obj.(*corev1.Pod).Name },
	}))
	running, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); informers.Run(running) }()
	defer func() { stop(); <-done }()
	for i, name := range []string{"a", "b"} {
		select {
		case got := <-added:
			if got != name {
				t.Errorf("saw %s, expected %s", got, name)
			}
		case <-ctx.Done():
			t.Fatalf("the informer has not seen %s", name)
		}
		if i == 0 {
			c.Disconnect()
			c.Compact()
			c.Add(testPod("b"))
		}
	}
}

func TestDeletionFollowsTheClock(t *testing.T) {
	clock := testclock.NewFakePassiveClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	ctx, c := t.Context(), clienttest.NewWithClock(clock)
	pods := client.For[*corev1.Pod](c)
	pod := testPod("a")
	pod.Spec.NodeName = "n1"
	c.Add(pod)
	if err := pods.Delete(ctx, "default", "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	got := must[*corev1.Pod](t)(pods.Get(ctx, "default", "a"))
	if got.DeletionTimestamp == nil || !got.DeletionTimestamp.Time.Equal(clock.Now().Add(30*time.Second)) {
		t.Errorf("a pod on a node ends at %v", got.DeletionTimestamp)
	}
}

func TestApplyIsRefused(t *testing.T) {
	c := clienttest.New()
	c.Add(testPod("a"))
	_, err := client.For[*corev1.Pod](c).Patch(t.Context(), "default", "a", "", types.ApplyYAMLPatchType, []byte(`{}`))
	expectError(t, err, apierrors.IsUnsupportedMediaType, "UnsupportedMediaType")
}

func TestCompactAndDisconnect(t *testing.T) {
	ctx, c := t.Context(), clienttest.New()
	c.Add(testPod("a"))
	from := c.ResourceVersion()
	c.Add(testPod("b"))
	w := must[watch.Interface](t)(c.Watch(ctx, podResource, "", metav1.ListOptions{ResourceVersion: from}))
	expectEvents(t, w, "ADDED b")
	c.Disconnect()
	if _, open := <-w.ResultChan(); open {
		t.Error("a disconnected watch sends")
	}
	w.Stop()
	c.Compact()
	_, err := c.Watch(ctx, podResource, "", metav1.ListOptions{ResourceVersion: from})
	expectError(t, err, apierrors.IsResourceExpired, "Expired")
}

func TestHooks(t *testing.T) {
	ctx, c := t.Context(), clienttest.New()
	failure := errors.New("injected")
	remove := c.OnRequest(func(verb, resource, namespace, name string) error {
		if verb == "create" && resource == "pods/binding" && name == "a" {
			return failure
		}
		return nil
	})
	c.Add(testPod("a"))
	binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}, Target: corev1.ObjectReference{Name: "n1"}}
	if err := client.Bind(ctx, c, binding); !errors.Is(err, failure) {
		t.Errorf("got %v", err)
	}
	remove()
	if err := client.Bind(ctx, c, binding); err != nil {
		t.Errorf("got %v", err)
	}
}

func TestCheckUnmutated(t *testing.T) {
	c := clienttest.New()
	c.Add(testPod("a"))
	pod := must[*corev1.Pod](t)(client.For[*corev1.Pod](c).Get(t.Context(), "default", "a"))
	if err := c.CheckUnmutated(); err != nil {
		t.Errorf("nobody wrote: %v", err)
	}
	pod.Labels["app"] = "changed"
	if err := c.CheckUnmutated(); err == nil {
		t.Error("a write to a shared object was not found")
	}
}
