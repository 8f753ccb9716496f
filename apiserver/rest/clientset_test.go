package rest_test

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	appsapply "k8s.io/client-go/applyconfigurations/apps/v1"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/cache"

	"github.com/ctlplane/ctlplane/apiserver/registry"
	"github.com/ctlplane/ctlplane/apiserver/rest"
)

func newPod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "image"}}},
	}
}

func newDeployment(name string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: newPod("").Spec},
		},
	}
}

// TestClientset runs an object through all verbs, in each of the encodings that client-go speaks.
func TestClientset(t *testing.T) {
	for _, contentType := range []string{registry.MediaJSON, registry.MediaProtobuf} {
		t.Run(contentType, func(t *testing.T) {
			c := newCluster(t, nil)
			set, ctx := c.clientset(t, contentType), t.Context()
			deployments := set.AppsV1().Deployments("default")
			d, err := deployments.Create(ctx, newDeployment("web"), metav1.CreateOptions{})
			if err != nil || *d.Spec.Replicas != 1 || d.UID == "" {
				t.Fatalf("create: %+v, %v", d, err)
			}
			if _, err := deployments.Create(ctx, newDeployment("web"), metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
				t.Errorf("create of a name that is taken: %v", err)
			}
			w, err := deployments.Watch(ctx, metav1.ListOptions{ResourceVersion: d.ResourceVersion})
			if err != nil {
				t.Fatal(err)
			}
			defer w.Stop()
			scale, err := deployments.GetScale(ctx, "web", metav1.GetOptions{})
			if err != nil || scale.Spec.Replicas != 1 || scale.Status.Selector != "app=web" {
				t.Fatalf("scale: %+v, %v", scale, err)
			}
			scale.Spec.Replicas = 4
			if _, err := deployments.UpdateScale(ctx, "web", scale, metav1.UpdateOptions{}); err != nil {
				t.Fatal(err)
			}
			if _, err := deployments.Update(ctx, d, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
				t.Errorf("stale update: %v", err)
			}
			d, err = deployments.Patch(ctx, "web", types.StrategicMergePatchType, []byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{})
			if err != nil || d.Labels["a"] != "b" || *d.Spec.Replicas != 4 {
				t.Fatalf("patch: %+v, %v", d, err)
			}
			d.Status.Replicas = 3
			if d, err = deployments.UpdateStatus(ctx, d, metav1.UpdateOptions{}); err != nil || d.Status.Replicas != 3 {
				t.Fatalf("status: %+v, %v", d, err)
			}
			apply := appsapply.Deployment("web", "default").WithLabels(map[string]string{"c": "d"})
			if d, err = deployments.Apply(ctx, apply, metav1.ApplyOptions{FieldManager: "test"}); err != nil || d.Labels["c"] != "d" {
				t.Fatalf("apply: %+v, %v", d, err)
			}
			list, err := deployments.List(ctx, metav1.ListOptions{LabelSelector: "a=b"})
			if err != nil || len(list.Items) != 1 || list.ResourceVersion == "" {
				t.Fatalf("list: %+v, %v", list, err)
			}
			if err := deployments.Delete(ctx, "web", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			for _, want := range []watch.EventType{watch.Modified, watch.Modified, watch.Modified, watch.Modified, watch.Deleted} {
				if ev := <-w.ResultChan(); ev.Type != want || ev.Object.(*appsv1.Deployment).Name != "web" {
					t.Fatalf("watch: got %s, wanted %s", ev.Type, want)
				}
			}
			if _, err := deployments.Get(ctx, "web", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
				t.Errorf("get after the deletion: %v", err)
			}
			set.CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}}, metav1.CreateOptions{})
			if err := set.CoreV1().ConfigMaps("default").DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{}); err != nil {
				t.Error(err)
			}
			pod, err := set.CoreV1().Pods("default").Create(ctx, newPod("p"), metav1.CreateOptions{})
			if err != nil {
				t.Fatal(err)
			}
			binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "p", UID: pod.UID}, Target: corev1.ObjectReference{Kind: "Node", Name: "n1"}}
			if err := set.CoreV1().Pods("default").Bind(ctx, binding, metav1.CreateOptions{}); err != nil {
				t.Fatal(err)
			}
			if err := set.CoreV1().Pods("default").Bind(ctx, binding, metav1.CreateOptions{}); !apierrors.IsConflict(err) {
				t.Errorf("second binding: %v", err)
			}
		})
	}
}

func TestDynamicAndMetadataClients(t *testing.T) {
	c := newCluster(t, nil)
	pods := corev1.SchemeGroupVersion.WithResource("pods")
	objects, err := dynamic.NewForConfig(c.config("admin", ""))
	if err != nil {
		t.Fatal(err)
	}
	obj := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "Pod", "metadata": map[string]any{"generateName": "p-"},
		"spec": map[string]any{"containers": []any{map[string]any{"name": "c", "image": "i"}}},
	}}
	made, err := objects.Resource(pods).Namespace("default").Create(t.Context(), obj, metav1.CreateOptions{})
	if err != nil || !strings.HasPrefix(made.GetName(), "p-") {
		t.Fatalf("create: %v, %v", made, err)
	}
	only, err := metadata.NewForConfig(c.config("admin", ""))
	if err != nil {
		t.Fatal(err)
	}
	list, err := only.Resource(pods).List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 || list.Items[0].Name != made.GetName() {
		t.Fatalf("metadata: %+v, %v", list, err)
	}
	w, err := only.Resource(pods).Watch(t.Context(), metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	if ev := <-w.ResultChan(); ev.Type != watch.Added || ev.Object.(*metav1.PartialObjectMetadata).Name != made.GetName() {
		t.Errorf("metadata watch: %+v", ev)
	}
}

// TestInformers has client-go's informers, which begin with a streamed list, follow what happens.
func TestInformers(t *testing.T) {
	for _, contentType := range []string{registry.MediaJSON, registry.MediaProtobuf} {
		t.Run(contentType, func(t *testing.T) {
			c := newCluster(t, nil)
			set := c.clientset(t, contentType)
			pods := set.CoreV1().Pods("default")
			create := func(from, to int) {
				for i := from; i < to; i++ {
					if _, err := pods.Create(t.Context(), newPod(fmt.Sprintf("p%d", i)), metav1.CreateOptions{}); err != nil {
						t.Fatal(err)
					}
				}
			}
			create(0, 20)
			factory := informers.NewSharedInformerFactory(set, 0)
			informer := factory.Core().V1().Pods().Informer()
			seen := make(chan string, 100)
			_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
				AddFunc:    func(obj any) { seen <- "+" + obj.(*corev1.Pod).Name },
				DeleteFunc: func(any) { seen <- "-" },
			})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithTimeout(t.Context(), eventually)
			factory.StartWithContext(ctx)
			defer factory.Shutdown()
			defer cancel()
			if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
				t.Fatal("no sync")
			}
			create(20, 25)
			if err := pods.Delete(ctx, "p0", metav1.DeleteOptions{}); err != nil {
				t.Fatal(err)
			}
			for range 26 {
				select {
				case <-seen:
				case <-ctx.Done():
					t.Fatal("an event is missing")
				}
			}
			if n := len(informer.GetStore().ListKeys()); n != 24 {
				t.Errorf("%d pods in the informer", n)
			}
		})
	}
}

func TestDiscovery(t *testing.T) {
	c := newCluster(t, nil)
	client := discovery.NewDiscoveryClientForConfigOrDie(c.config("admin", ""))
	version, err := client.ServerVersion()
	if err != nil || version.Minor != "33" || version.Major != "1" {
		t.Errorf("version: %+v, %v", version, err)
	}
	check := func(lists []*metav1.APIResourceList, err error) {
		t.Helper()
		found := map[string]metav1.APIResource{}
		for _, list := range lists {
			for _, r := range list.APIResources {
				found[list.GroupVersion+" "+r.Name] = r
			}
		}
		if err != nil || found["apps/v1 deployments/scale"].Kind != "Scale" || found["apps/v1 deployments/scale"].Group != "autoscaling" ||
			found["v1 pods"].ShortNames[0] != "po" || found["v1 namespaces"].Namespaced {
			t.Errorf("resources: %v, %v", found, err)
		}
	}
	_, lists, err := client.ServerGroupsAndResources()
	check(lists, err)
	client.UseLegacyDiscovery = true
	_, lists, err = client.ServerGroupsAndResources()
	check(lists, err)
}

// agent is a NodeProxy of one log.
type agent struct{ asked chan string }

func (a agent) Open(_ context.Context, address, path string, query url.Values) (io.ReadCloser, error) {
	a.asked <- address + path + "?" + query.Encode()
	return io.NopCloser(strings.NewReader("line\n")), nil
}

func TestLogs(t *testing.T) {
	node := agent{make(chan string, 1)}
	c := newCluster(t, func(o *rest.Options) { o.Nodes = node })
	set, ctx := c.clientset(t, ""), t.Context()
	pods := set.CoreV1().Pods("default")
	read := func(opts *corev1.PodLogOptions) (string, error) {
		data, err := pods.GetLogs("p", opts).DoRaw(ctx)
		return string(data), err
	}
	if _, err := read(&corev1.PodLogOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a missing pod: %v", err)
	}
	if _, err := pods.Create(ctx, newPod("p"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := read(&corev1.PodLogOptions{}); !apierrors.IsBadRequest(err) {
		t.Errorf("a pod without a node: %v", err)
	}
	_, err := set.CoreV1().Nodes().Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = set.CoreV1().Nodes().Patch(ctx, "n1", types.MergePatchType, []byte(`{"status":{"addresses":[{"type":"InternalIP","address":"192.0.2.1"}]}}`), metav1.PatchOptions{}, "status")
	if err != nil {
		t.Fatal(err)
	}
	if err := pods.Bind(ctx, &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Target: corev1.ObjectReference{Name: "n1"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := read(&corev1.PodLogOptions{Container: "other"}); !apierrors.IsBadRequest(err) {
		t.Errorf("a container that there isn't: %v", err)
	}
	tail := int64(3)
	text, err := read(&corev1.PodLogOptions{TailLines: &tail, Follow: true})
	if err != nil || text != "line\n" {
		t.Errorf("log: %q, %v", text, err)
	}
	if err != nil {
		return
	}
	if asked := <-node.asked; asked != "192.0.2.1:10250/containerLogs/default/p/c?follow=true&tailLines=3" {
		t.Errorf("the agent was asked for %s", asked)
	}
}

// TestLogOptionsThatHaveNoMeaning asks for logs that there can't be: no agent is asked.
func TestLogOptionsThatHaveNoMeaning(t *testing.T) {
	c := newCluster(t, func(o *rest.Options) { o.Nodes = agent{} })
	for query, want := range map[string]string{
		"tailLines=-1":   "tailLines: Invalid value: -1: must be greater than or equal to 0",
		"limitBytes=0":   "limitBytes: Invalid value: 0: must be greater than 0",
		"sinceSeconds=0": "sinceSeconds: Invalid value: 0: must be greater than 0",
		"sinceSeconds=1&sinceTime=2026-01-01T00:00:00Z": "at most one of `sinceTime` or `sinceSeconds`",
		"stream=stdout":             `stream: Unsupported value: \"stdout\"`,
		"stream=Stdout&tailLines=1": "mutually exclusive",
	} {
		got := c.ask(t, "admin", "GET", "/api/v1/namespaces/default/pods/p/log?"+query, "")
		if got.code != 422 || !strings.Contains(got.body, want) {
			t.Errorf("%s: %d %s", query, got.code, got.body)
		}
	}
	for _, query := range []string{"tailLines=few", "follow=perhaps", "sinceTime=yesterday"} {
		if got := c.ask(t, "admin", "GET", "/api/v1/namespaces/default/pods/p/log?"+query, ""); got.code != 400 {
			t.Errorf("%s: %d %s", query, got.code, got.body)
		}
	}
}

// TestWatchTimesOut has a watch end at its time.
func TestWatchTimesOut(t *testing.T) {
	c := newCluster(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), eventually)
	defer cancel()
	w, err := c.clientset(t, "").CoreV1().Pods("").Watch(ctx, metav1.ListOptions{TimeoutSeconds: new(int64(1))})
	if err != nil {
		t.Fatal(err)
	}
	for range w.ResultChan() {
		t.Error("an event")
	}
	if ctx.Err() != nil {
		t.Error("the watch of one second did not end by itself")
	}
}
