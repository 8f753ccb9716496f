package rpc_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/api/objectpb"
	"github.com/ctlplane/ctlplane/apiserver/rpc"
	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/client/clienttest"
)

var podResource = corev1.SchemeGroupVersion.WithResource("pods")

type fixture struct {
	cluster *clienttest.Cluster
	service *rpc.Service
	server  *grpc.Server
	address string
	objects client.Objects
}

func anyone(ctx context.Context) (context.Context, error) { return ctx, nil }

// serve runs the service over a real socket in front of an in-memory cluster, and connects to it.
func serve(t *testing.T, authenticate rpc.Authenticate) *fixture {
	t.Helper()
	f := &fixture{cluster: clienttest.New(), server: grpc.NewServer(rpc.ServerOptions()...)}
	f.service = rpc.Register(f.server, f.cluster, authenticate, slog.New(slog.DiscardHandler))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	f.address = listener.Addr().String()
	var serving sync.WaitGroup
	serving.Go(func() { _ = f.server.Serve(listener) })
	t.Cleanup(func() { f.stop(); serving.Wait() })

	connection, err := client.Connect(t.Context(), client.Config{Endpoints: []string{f.address}, Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = connection.Close() })
	f.objects = connection.Objects()
	return f
}

func (f *fixture) stop() {
	f.service.Close()
	f.server.GracefulStop()
}

func testPod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "one"}}},
	}
}

func next(t *testing.T, w watch.Interface) (watch.Event, bool) {
	t.Helper()
	select {
	case event, ok := <-w.ResultChan():
		return event, ok
	case <-time.After(60 * time.Second):
		t.Fatal("no event")
		return watch.Event{}, false
	}
}

func TestEveryVerb(t *testing.T) {
	ctx, f := t.Context(), serve(t, anyone)
	pods := client.For[*corev1.Pod](f.objects)
	created, err := pods.Create(ctx, testPod("a"))
	if err != nil || created.UID == "" {
		t.Fatalf("create: %+v, %v", created, err)
	}
	change := created.DeepCopy()
	change.Spec.Containers[0].Image = "two"
	updated, err := pods.Update(ctx, change)
	if err != nil || updated.Spec.Containers[0].Image != "two" {
		t.Fatalf("update: %+v, %v", updated, err)
	}
	if _, err := pods.Update(ctx, change); !apierrors.IsConflict(err) {
		t.Errorf("update of a stale object: %v", err)
	}
	if _, err := pods.Patch(ctx, "default", "a", "", types.MergePatchType, []byte(`{"metadata":{"labels":{"x":"y"}}}`)); err != nil {
		t.Errorf("patch: %v", err)
	}
	got, err := pods.Get(ctx, "default", "a")
	if err != nil || got.Labels["x"] != "y" {
		t.Errorf("get: %+v, %v", got, err)
	}
	list, version, err := pods.List(ctx, "", metav1.ListOptions{LabelSelector: "x=y"})
	if err != nil || len(list) != 1 || version != f.cluster.ResourceVersion() {
		t.Errorf("list: %d pods at %s, %v", len(list), version, err)
	}
	binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a", UID: got.UID}, Target: corev1.ObjectReference{Name: "n1"}}
	if err := client.Bind(ctx, f.objects, binding); err != nil {
		t.Errorf("bind: %v", err)
	}
	if err := pods.Delete(ctx, "default", "a", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
		t.Errorf("delete: %v", err)
	}
	if _, err := pods.Get(ctx, "default", "a"); !apierrors.IsNotFound(err) || err.Error() != `pods "a" not found` {
		t.Errorf("get of a deleted pod: %v", err)
	}
}

func TestScale(t *testing.T) {
	f := serve(t, anyone)
	f.cluster.Add(&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"}})
	got, err := f.objects.Patch(t.Context(), appsv1.SchemeGroupVersion.WithResource("deployments"), "default", "web", "scale",
		types.MergePatchType, []byte(`{"spec":{"replicas":4}}`), metav1.PatchOptions{})
	if err != nil || got.(*autoscalingv1.Scale).Spec.Replicas != 4 {
		t.Errorf("scale: %v, %v", got, err)
	}
}

func TestErrorsKeepTheirStatus(t *testing.T) {
	ctx, f := t.Context(), serve(t, anyone)
	conflict := apierrors.NewConflict(podResource.GroupResource(), "a", errors.New("of interest"))
	conflict.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: "Why", Field: "spec.x", Message: "because"}}
	var answer error
	f.cluster.OnRequest(func(string, string, string, string) error { return answer })
	for _, tc := range []struct {
		answer error
		is     func(error) bool
	}{
		{conflict, func(err error) bool { return apierrors.IsConflict(err) && apierrors.HasStatusCause(err, "Why") }},
		{apierrors.NewTooManyRequests("later", 7), func(err error) bool { after, ok := apierrors.SuggestsClientDelay(err); return ok && after == 7 }},
		{apierrors.NewForbidden(podResource.GroupResource(), "a", errors.New("no")), apierrors.IsForbidden},
		{apierrors.NewResourceExpired("too old"), apierrors.IsResourceExpired},
		{errors.New("a bug"), apierrors.IsInternalError},
	} {
		answer = tc.answer
		if _, err := f.objects.Get(ctx, podResource, "default", "a", metav1.GetOptions{}); !tc.is(err) {
			t.Errorf("%v came as %v", tc.answer, err)
		}
		if w, err := f.objects.Watch(ctx, podResource, "default", metav1.ListOptions{}); !tc.is(err) || w != nil {
			t.Errorf("%v came to a watch as %v", tc.answer, err)
		}
	}
	answer = nil
	if _, err := f.objects.Get(ctx, schema.GroupVersionResource{Resource: "nonsense"}, "", "a", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("unknown resource: %v", err)
	}
}

func TestReadsGetOverAnAbsentServer(t *testing.T) {
	f := serve(t, anyone)
	f.cluster.Add(testPod("a"))
	absent := 0
	f.cluster.OnRequest(func(verb, _, _, _ string) error {
		if absent++; absent%2 == 1 {
			return apierrors.NewServiceUnavailable("no leader")
		}
		return nil
	})
	pods := client.For[*corev1.Pod](f.objects)
	if _, err := pods.Get(t.Context(), "default", "a"); err != nil {
		t.Errorf("get: %v", err)
	}
	if _, _, err := pods.List(t.Context(), "", metav1.ListOptions{}); err != nil {
		t.Errorf("list: %v", err)
	}
	w, err := pods.Watch(t.Context(), "", metav1.ListOptions{})
	if err != nil {
		t.Fatalf("watch: %v", err)
	}
	w.Stop()
	if _, err := pods.Create(t.Context(), testPod("b")); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("a write was tried again: %v", err)
	}
}

func TestNobodyUnauthenticatedGetsIn(t *testing.T) {
	ctx := t.Context()
	f := serve(t, func(context.Context) (context.Context, error) { return nil, errors.New("who are you") })
	f.cluster.OnRequest(func(verb, resource, _, _ string) error {
		t.Errorf("%s %s came through", verb, resource)
		return nil
	})
	_, get := f.objects.Get(ctx, podResource, "default", "a", metav1.GetOptions{})
	_, list := f.objects.List(ctx, podResource, "", metav1.ListOptions{})
	_, watching := f.objects.Watch(ctx, podResource, "", metav1.ListOptions{})
	_, create := f.objects.Create(ctx, podResource, "default", "", "", testPod("a"), metav1.CreateOptions{})
	_, update := f.objects.Update(ctx, podResource, "default", "a", "", testPod("a"), metav1.UpdateOptions{})
	_, patch := f.objects.Patch(ctx, podResource, "default", "a", "", types.MergePatchType, []byte(`{}`), metav1.PatchOptions{})
	_, remove := f.objects.Delete(ctx, podResource, "default", "a", metav1.DeleteOptions{})
	for i, err := range []error{get, list, watching, create, update, patch, remove} {
		if !apierrors.IsUnauthorized(err) {
			t.Errorf("call %d: %v", i, err)
		}
	}
}

func TestTooLargeIsRefused(t *testing.T) {
	f := serve(t, anyone)
	pod := testPod("a")
	pod.Annotations = map[string]string{"large": strings.Repeat("x", rpc.MaxRequestBytes-1000)}
	if _, err := client.For[*corev1.Pod](f.objects).Create(t.Context(), pod); err != nil {
		t.Errorf("create of what is just not too large: %v", err)
	}
	pod.Name = "b"
	pod.Annotations = map[string]string{"large": strings.Repeat("x", rpc.MaxRequestBytes)}
	if _, err := client.For[*corev1.Pod](f.objects).Create(t.Context(), pod); !apierrors.IsRequestEntityTooLargeError(err) {
		t.Errorf("create: %v", err)
	}
}

func TestGarbageIsRefused(t *testing.T) {
	f := serve(t, anyone)
	connection, err := grpc.NewClient(f.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	raw := objectpb.NewObjectsClient(connection)
	resource := &objectpb.Resource{Version: "v1", Resource: "pods"}
	_, object := raw.Create(t.Context(), &objectpb.CreateRequest{Resource: resource, Namespace: "default", Object: []byte("k8s\x00garbage")})
	_, options := raw.Get(t.Context(), &objectpb.GetRequest{Resource: resource, Name: "a", Options: []byte("garbage")})
	_, nothing := raw.Update(t.Context(), &objectpb.UpdateRequest{})
	for _, err := range []error{object, options, nothing} {
		if s, ok := objectpb.StatusOf(err); !ok || s.Reason != metav1.StatusReasonBadRequest {
			t.Errorf("got %v", err)
		}
	}
}

func TestWatchStreamsAndStops(t *testing.T) {
	f := serve(t, anyone)
	f.cluster.Add(testPod("a"))
	w, err := f.objects.Watch(t.Context(), podResource, "", metav1.ListOptions{SendInitialEvents: ptr.To(true), AllowWatchBookmarks: true,
		ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan})
	if err != nil {
		t.Fatal(err)
	}
	f.cluster.Add(testPod("b"))
	var seen []string
	for range 3 {
		event, _ := next(t, w)
		seen = append(seen, string(event.Type)+" "+event.Object.(client.Object).GetName())
	}
	if !slices.Equal(seen, []string{"ADDED a", "BOOKMARK ", "ADDED b"}) {
		t.Errorf("saw %q", seen)
	}
	w.Stop()
	w.Stop()
	if _, open := <-w.ResultChan(); open {
		t.Error("a stopped watch sends")
	}
}

func TestWatchOfCompactedVersion(t *testing.T) {
	f := serve(t, anyone)
	f.cluster.Add(testPod("a"))
	from := f.cluster.ResourceVersion()
	f.cluster.Add(testPod("b"))
	f.cluster.Compact()
	if _, err := f.objects.Watch(t.Context(), podResource, "", metav1.ListOptions{ResourceVersion: from}); !apierrors.IsResourceExpired(err) {
		t.Errorf("got %v", err)
	}
}

// compactedMidway answers a watch with an error event after it has begun.
type compactedMidway struct{ client.Objects }

func (o compactedMidway) Watch(context.Context, schema.GroupVersionResource, string, metav1.ListOptions) (watch.Interface, error) {
	w := watch.NewFakeWithChanSize(1, false)
	s := apierrors.NewResourceExpired("too old").Status()
	w.Error(&s)
	return w, nil
}

func TestErrorEventArrivesAsEvent(t *testing.T) {
	server := grpc.NewServer()
	service := rpc.Register(server, compactedMidway{}, anyone, slog.New(slog.DiscardHandler))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	defer serving.Wait()
	defer server.Stop()
	defer service.Close()
	connection, err := client.Connect(t.Context(), client.Config{Endpoints: []string{listener.Addr().String()}, Insecure: true})
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	w, err := connection.Objects().Watch(t.Context(), podResource, "", metav1.ListOptions{ResourceVersion: "1"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	event, ok := next(t, w)
	if !ok || event.Type != watch.Error || !apierrors.IsResourceExpired(apierrors.FromObject(event.Object)) {
		t.Errorf("got %v", event)
	}
	if _, ok := next(t, w); ok {
		t.Error("the watch goes on after an error")
	}
}

func TestServerStopEndsWatches(t *testing.T) {
	f := serve(t, anyone)
	w, err := f.objects.Watch(t.Context(), podResource, "", metav1.ListOptions{ResourceVersion: "1"})
	if err != nil {
		t.Fatal(err)
	}
	f.stop()
	if event, ok := next(t, w); ok {
		t.Errorf("got %v, expected the end", event)
	}
	if _, err := f.objects.Get(t.Context(), podResource, "default", "a", metav1.GetOptions{}); !apierrors.IsServiceUnavailable(err) {
		t.Errorf("a call to a server that is gone: %v", err)
	}
}

func TestEndedContextIsItsOwnError(t *testing.T) {
	f := serve(t, anyone)
	ctx, cancel := context.WithCancel(t.Context())
	w, err := f.objects.Watch(ctx, podResource, "", metav1.ListOptions{ResourceVersion: "1"})
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if event, ok := next(t, w); ok {
		t.Errorf("got %v, expected the end", event)
	}
	if _, err := f.objects.Get(ctx, podResource, "default", "a", metav1.GetOptions{}); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestInformerOverTheWire(t *testing.T) {
	f := serve(t, anyone)
	f.cluster.Add(testPod("a"))
	informers := client.NewInformers(f.objects)
	seen := make(chan string, 10)
	_, err := client.InformerFor[*corev1.Pod](informers).AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(obj any) { seen <- "add " + obj.(*corev1.Pod).Name },
		UpdateFunc: func(_, obj any) { seen <- "update " + obj.(*corev1.Pod).Name },
		DeleteFunc: func(obj any) { seen <- "delete " + obj.(*corev1.Pod).Name },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { informers.Run(ctx) })
	defer running.Wait()
	defer cancel()
	if !informers.WaitForSync(ctx) {
		t.Fatal("no sync")
	}
	pods := client.For[*corev1.Pod](f.cluster)
	if _, err := pods.Patch(ctx, "default", "a", "status", types.MergePatchType, []byte(`{"status":{"phase":"Running"}}`)); err != nil {
		t.Fatal(err)
	}
	if err := pods.Delete(ctx, "default", "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"add a", "update a", "delete a"} {
		select {
		case got := <-seen:
			if got != want {
				t.Errorf("saw %s, expected %s", got, want)
			}
		case <-time.After(60 * time.Second):
			t.Fatalf("did not see %s", want)
		}
	}
}

// TestSharedObjectsStayUntouched: encoding must not set the kind of an object that others hold too.
func TestSharedObjectsStayUntouched(t *testing.T) {
	f := serve(t, anyone)
	f.cluster.Add(testPod("a"))
	shared, err := f.cluster.Get(t.Context(), podResource, "default", "a", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	before := shared.DeepCopyObject()
	if _, err := f.objects.Get(t.Context(), podResource, "default", "a", metav1.GetOptions{}); err != nil {
		t.Fatal(err)
	}
	if shared.GetObjectKind().GroupVersionKind() != before.GetObjectKind().GroupVersionKind() {
		t.Error("serving an object changed it")
	}
}

func BenchmarkFanOut(b *testing.B) {
	cluster, server := clienttest.New(), grpc.NewServer()
	service := rpc.Register(server, cluster, anyone, slog.New(slog.NewTextHandler(io.Discard, nil)))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(listener) })
	defer serving.Wait()
	defer server.Stop()
	defer service.Close()
	connection, err := client.Connect(b.Context(), client.Config{Endpoints: []string{listener.Addr().String()}, Insecure: true})
	if err != nil {
		b.Fatal(err)
	}
	defer connection.Close()

	const watchers = 20
	var watching sync.WaitGroup
	for range watchers {
		w, err := connection.Objects().Watch(b.Context(), podResource, "", metav1.ListOptions{ResourceVersion: "1"})
		if err != nil {
			b.Fatal(err)
		}
		watching.Go(func() {
			defer w.Stop()
			for range b.N {
				<-w.ResultChan()
			}
		})
	}
	b.ResetTimer()
	var created runtime.Object
	for range b.N {
		pod := testPod("")
		pod.GenerateName = "pod-"
		created, err = cluster.Create(b.Context(), podResource, "default", "", "", pod, metav1.CreateOptions{})
		if err != nil {
			b.Fatal(err)
		}
	}
	watching.Wait()
	_ = created
	b.ReportMetric(float64(b.N*watchers)/b.Elapsed().Seconds(), "events/s")
}
