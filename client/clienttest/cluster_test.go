package clienttest_test

import (
	"context"
	"errors"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	testclock "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

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

func TestCreateReadUpdate(t *testing.T) {
	ctx, c := t.Context(), clienttest.New()
	pods := client.For[*corev1.Pod](c)

	_, err := pods.Get(ctx, "default", "a")
	expectError(t, err, apierrors.IsNotFound, "NotFound")

	pod := testPod("a")
	pod.Status.Phase = corev1.PodRunning
	created := must[*corev1.Pod](t)(pods.Create(ctx, pod))
	if created.UID == "" || created.ResourceVersion == "" || created.Generation != 1 || created.Status.Phase != corev1.PodPending {
		t.Errorf("created %+v lacks what the server owns", created.ObjectMeta)
	}
	_, err = pods.Create(ctx, pod)
	expectError(t, err, apierrors.IsAlreadyExists, "AlreadyExists")

	change := created.DeepCopy()
	change.Spec.Containers[0].Image = "two"
	change.Status.Phase = corev1.PodFailed
	updated := must[*corev1.Pod](t)(pods.Update(ctx, change))
	if updated.Generation != 2 || updated.Status.Phase != corev1.PodPending || updated.ResourceVersion == created.ResourceVersion {
		t.Errorf("update gave generation %d, phase %s, version %s", updated.Generation, updated.Status.Phase, updated.ResourceVersion)
	}
	_, err = pods.Update(ctx, change)
	expectError(t, err, apierrors.IsConflict, "Conflict")
	if same := must[*corev1.Pod](t)(pods.Update(ctx, updated.DeepCopy())); same.ResourceVersion != updated.ResourceVersion {
		t.Error("an update that changes nothing took a version")
	}

	status := updated.DeepCopy()
	status.Spec.Containers[0].Image = "three"
	status.Status.Phase = corev1.PodRunning
	got := must[*corev1.Pod](t)(pods.UpdateStatus(ctx, status))
	if got.Status.Phase != corev1.PodRunning || got.Spec.Containers[0].Image != "two" || got.Generation != 2 {
		t.Errorf("status update gave %+v", got)
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

func TestSelectors(t *testing.T) {
	ctx, c := t.Context(), clienttest.New()
	bound, other := testPod("bound"), testPod("other")
	bound.Spec.NodeName = "n1"
	other.Labels = nil
	c.Add(bound, other)
	for _, tc := range []struct {
		labels, fields string
		want           int
	}{
		{"", "", 2},
		{"app=web", "", 1},
		{"", "spec.nodeName=n1", 1},
		{"", "spec.nodeName=", 1},
		{"", "metadata.name=other", 1},
		{"app", "metadata.name=other", 0},
	} {
		items, version, err := client.For[*corev1.Pod](c).List(ctx, "", metav1.ListOptions{LabelSelector: tc.labels, FieldSelector: tc.fields})
		if err != nil || len(items) != tc.want || version != c.ResourceVersion() {
			t.Errorf("%q %q: %d items at %s, %v; expected %d", tc.labels, tc.fields, len(items), version, err, tc.want)
		}
	}
	_, err := c.List(ctx, podResource, "", metav1.ListOptions{FieldSelector: "spec.nonsense=1"})
	expectError(t, err, apierrors.IsBadRequest, "BadRequest")
}

func TestBinding(t *testing.T) {
	ctx, c := t.Context(), clienttest.New()
	pods := client.For[*corev1.Pod](c)
	pod := must[*corev1.Pod](t)(pods.Create(ctx, testPod("a")))
	binding := &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a", UID: "another", ResourceVersion: pod.ResourceVersion},
		Target:     corev1.ObjectReference{Kind: "Node", Name: "n1"},
	}
	expectError(t, client.Bind(ctx, c, binding), apierrors.IsConflict, "Conflict for another UID")
	binding.UID = pod.UID
	if err := client.Bind(ctx, c, binding); err != nil {
		t.Fatal(err)
	}
	got := must[*corev1.Pod](t)(pods.Get(ctx, "default", "a"))
	if got.Spec.NodeName != "n1" || len(got.Status.Conditions) != 1 || got.Status.Conditions[0].Status != corev1.ConditionTrue {
		t.Errorf("bound pod is %+v", got)
	}
	binding.ResourceVersion = ""
	expectError(t, client.Bind(ctx, c, binding), apierrors.IsConflict, "Conflict for a pod that is bound")
}

func TestDeletion(t *testing.T) {
	clock := testclock.NewFakePassiveClock(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC))
	ctx, c := t.Context(), clienttest.NewWithClock(clock)
	pods := client.For[*corev1.Pod](c)
	running, held, free := testPod("running"), testPod("held"), testPod("free")
	running.Spec.NodeName = "n1"
	held.Finalizers = []string{"example.com/hold"}
	c.Add(running, held, free)

	err := pods.Delete(ctx, "default", "free", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: ptr.To(types.UID("another"))}})
	expectError(t, err, apierrors.IsConflict, "Conflict for another UID")
	for _, name := range []string{"running", "held", "free"} {
		if err := pods.Delete(ctx, "default", name, metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	_, err = pods.Get(ctx, "default", "free")
	expectError(t, err, apierrors.IsNotFound, "NotFound")

	got := must[*corev1.Pod](t)(pods.Get(ctx, "default", "running"))
	if got.DeletionTimestamp == nil || !got.DeletionTimestamp.Time.Equal(clock.Now().Add(30*time.Second)) {
		t.Errorf("a pod on a node ends at %v", got.DeletionTimestamp)
	}
	if err := pods.Delete(ctx, "default", "running", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
		t.Fatal(err)
	}
	_, err = pods.Get(ctx, "default", "running")
	expectError(t, err, apierrors.IsNotFound, "NotFound")

	got = must[*corev1.Pod](t)(pods.Get(ctx, "default", "held")).DeepCopy()
	got.Finalizers = nil
	must[*corev1.Pod](t)(pods.Update(ctx, got))
	_, err = pods.Get(ctx, "default", "held")
	expectError(t, err, apierrors.IsNotFound, "NotFound")
}

func TestNamespaceTerminates(t *testing.T) {
	ctx, c := t.Context(), clienttest.New()
	namespaces := client.For[*corev1.Namespace](c)
	must[*corev1.Namespace](t)(namespaces.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}}))
	if err := namespaces.Delete(ctx, "", "default", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err := c.Create(ctx, podResource, "default", "", "", testPod("a"), metav1.CreateOptions{})
	expectError(t, err, func(err error) bool { return apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) }, "NamespaceTerminating")

	ns := must[*corev1.Namespace](t)(namespaces.Get(ctx, "", "default")).DeepCopy()
	if ns.Status.Phase != corev1.NamespaceTerminating {
		t.Errorf("phase is %s", ns.Status.Phase)
	}
	ns.Spec.Finalizers = nil
	if _, err := c.Update(ctx, corev1.SchemeGroupVersion.WithResource("namespaces"), "", "default", "finalize", ns, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = namespaces.Get(ctx, "", "default")
	expectError(t, err, apierrors.IsNotFound, "NotFound")
}

func TestPatchAndScale(t *testing.T) {
	ctx, c := t.Context(), clienttest.New()
	c.Add(&appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](1), Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "main", Image: "one"}, {Name: "side", Image: "one"}}}}},
	})
	deployments := client.For[*appsv1.Deployment](c)
	for _, tc := range []struct {
		pt          types.PatchType
		subresource string
		patch       string
	}{
		{types.JSONPatchType, "", `[{"op":"replace","path":"/spec/replicas","value":2}]`},
		{types.MergePatchType, "", `{"metadata":{"labels":{"a":"b"}}}`},
		{types.StrategicMergePatchType, "", `{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"two"}]}}}}`},
		{types.MergePatchType, "status", `{"spec":{"replicas":9},"status":{"replicas":2}}`},
	} {
		if _, err := deployments.Patch(ctx, "default", "web", tc.subresource, tc.pt, []byte(tc.patch)); err != nil {
			t.Errorf("%s: %v", tc.pt, err)
		}
	}
	got := must[*appsv1.Deployment](t)(deployments.Get(ctx, "default", "web"))
	containers := got.Spec.Template.Spec.Containers
	if *got.Spec.Replicas != 2 || got.Labels["a"] != "b" || len(containers) != 2 || containers[1].Image != "two" || got.Status.Replicas != 2 {
		t.Errorf("patched to %+v", got)
	}
	scale, err := c.Patch(ctx, deploymentResource, "default", "web", "scale", types.MergePatchType, []byte(`{"spec":{"replicas":5}}`), metav1.PatchOptions{})
	if err != nil || scale.(*autoscalingv1.Scale).Spec.Replicas != 5 {
		t.Errorf("scale gave %v, %v", scale, err)
	}
	_, err = deployments.Patch(ctx, "default", "web", "", types.MergePatchType, []byte(`{"metadata":{"resourceVersion":"1"}}`))
	expectError(t, err, apierrors.IsConflict, "Conflict")
	_, err = deployments.Patch(ctx, "default", "web", "", types.JSONPatchType, []byte(`[{"op":"remove","path":"/nothing"}]`))
	expectError(t, err, apierrors.IsBadRequest, "BadRequest")
	_, err = deployments.Patch(ctx, "default", "web", "", types.ApplyYAMLPatchType, []byte(`{}`))
	expectError(t, err, apierrors.IsUnsupportedMediaType, "UnsupportedMediaType")
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
	case <-time.After(10 * time.Second):
		t.Fatal("no event")
	}
	return "", nil
}

func TestWatch(t *testing.T) {
	ctx, c := t.Context(), clienttest.New()
	pods := client.For[*corev1.Pod](c)
	c.Add(testPod("a"))
	from := c.ResourceVersion()
	pod := must[*corev1.Pod](t)(pods.Get(ctx, "default", "a")).DeepCopy()
	pod.Labels = nil
	must[*corev1.Pod](t)(pods.Update(ctx, pod))
	c.Add(testPod("b"))
	if err := pods.Delete(ctx, "default", "b", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}

	w := must[watch.Interface](t)(pods.Watch(ctx, "", metav1.ListOptions{ResourceVersion: from, LabelSelector: "app=web"}))
	var last string
	for i, want := range []struct {
		kind watch.EventType
		name string
	}{{watch.Deleted, "a"}, {watch.Added, "b"}, {watch.Deleted, "b"}} {
		kind, obj := next(t, w)
		if kind != want.kind || obj.GetName() != want.name || obj.GetResourceVersion() == last {
			t.Errorf("event %d is %s %s at %s, expected %v", i, kind, obj.GetName(), obj.GetResourceVersion(), want)
		}
		last = obj.GetResourceVersion()
	}
	if last != c.ResourceVersion() {
		t.Errorf("the last event has version %s, the cluster %s", last, c.ResourceVersion())
	}
	w.Stop()
	if _, open := <-w.ResultChan(); open {
		t.Error("a stopped watch sends")
	}

	c.Compact()
	_, err := pods.Watch(ctx, "", metav1.ListOptions{ResourceVersion: from})
	expectError(t, err, apierrors.IsResourceExpired, "Expired")
}

func TestWatchList(t *testing.T) {
	ctx, c := t.Context(), clienttest.New()
	c.Add(testPod("a"))
	w := must[watch.Interface](t)(c.Watch(ctx, podResource, "", metav1.ListOptions{
		SendInitialEvents: ptr.To(true), AllowWatchBookmarks: true, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
	}))
	if kind, obj := next(t, w); kind != watch.Added || obj.GetName() != "a" {
		t.Errorf("first came %s", kind)
	}
	if kind, obj := next(t, w); kind != watch.Bookmark || obj.GetAnnotations()[metav1.InitialEventsAnnotationKey] != "true" {
		t.Errorf("second came %s", kind)
	}
	c.Add(testPod("b"))
	if kind, obj := next(t, w); kind != watch.Added || obj.GetName() != "b" {
		t.Errorf("third came %s", kind)
	}
	c.Disconnect()
	if _, open := <-w.ResultChan(); open {
		t.Error("a disconnected watch sends")
	}
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
