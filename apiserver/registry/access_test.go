package registry_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ctlplane/ctlplane/apiserver/auth"
	"github.com/ctlplane/ctlplane/apiserver/registry"
	"github.com/ctlplane/ctlplane/apiserver/registry/registrytest"
	"github.com/ctlplane/ctlplane/client"
)

func TestNobodyGetsNothing(t *testing.T) {
	f := newFixture(t, registry.Options{})
	if _, err := f.List(t.Context(), configMaps, "default", metav1.ListOptions{}); !apierrors.IsUnauthorized(err) {
		t.Errorf("no user: %v", err)
	}
	stranger := auth.WithUser(t.Context(), auth.User{Name: "stranger"})
	_, err := f.List(stranger, configMaps, "default", metav1.ListOptions{})
	const want = `configmaps is forbidden: User "stranger" cannot list resource "configmaps" in API group "" in the namespace "default"`
	if !apierrors.IsForbidden(err) || !strings.HasPrefix(err.Error(), want) {
		t.Errorf("a user without rights: %v", err)
	}
	if _, err := f.List(f.ctx, schema.GroupVersionResource{Version: "v1", Resource: "nothings"}, "", metav1.ListOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("an unknown resource: %v", err)
	}
}

func TestNodesReachOnlyWhatIsTheirs(t *testing.T) {
	f := newFixture(t, registry.Options{})
	node := auth.WithUser(t.Context(), auth.User{Name: auth.NodePrefix + "n1", Groups: []string{auth.GroupNodes}})
	pods, nodes := client.For[*corev1.Pod](f), client.For[*corev1.Node](f)
	must(pods.Create(f.ctx, newPod("mine")))(t)
	must(pods.Create(f.ctx, newPod("other")))(t)
	f.bind(t, "mine")
	f.list(t, metav1.ListOptions{})
	own, _, err := pods.List(node, "", metav1.ListOptions{FieldSelector: "spec.nodeName=n1"})
	if err != nil || len(own) != 1 || own[0].Name != "mine" {
		t.Errorf("own pods: %v, %v", own, err)
	}
	if _, _, err := pods.List(node, "", metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("all pods: %v", err)
	}
	must(pods.Patch(node, "default", "mine", "status", types.MergePatchType, []byte(`{"status":{"phase":"Running"}}`)))(t)
	if _, err := pods.Patch(node, "default", "other", "status", types.MergePatchType, []byte(`{"status":{"phase":"Running"}}`)); !apierrors.IsForbidden(err) {
		t.Errorf("another's pod: %v", err)
	}
	must(nodes.Create(node, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}))(t)
	if _, err := nodes.Create(node, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n2"}}); !apierrors.IsForbidden(err) {
		t.Errorf("another node: %v", err)
	}
	if _, err := nodes.Patch(node, "", "n1", "", types.MergePatchType, []byte(`{"spec":{"taints":[{"key":"a","effect":"NoSchedule"}]}}`)); !apierrors.IsForbidden(err) {
		t.Errorf("own taints: %v", err)
	}
}

// TestNodeIsKnownByEveryMasterAtOnce holds a bug: a node that had learned of a binding from one master was
// denied by another whose cache was behind.
func TestNodeIsKnownByEveryMasterAtOnce(t *testing.T) {
	f := newFixture(t, registry.Options{})
	other := registrytest.New(t, f.storage, registry.Options{})
	node := auth.WithUser(t.Context(), auth.User{Name: auth.NodePrefix + "n1", Groups: []string{auth.GroupNodes}})
	for i := range 100 {
		name := fmt.Sprint("pod-", i)
		must(client.For[*corev1.Pod](f).Create(f.ctx, newPod(name)))(t)
		f.bind(t, name)
		must(client.For[*corev1.Pod](other).Patch(node, "default", name, "status", types.MergePatchType, []byte(`{"status":{"phase":"Running"}}`)))(t)
	}
}

// TestVerbsOfSubresources: over gRPC, which asks by verb and subresource, an update of a pod's binding replaced the whole pod.
func TestVerbsOfSubresources(t *testing.T) {
	f := newFixture(t, registry.Options{})
	pods, namespaces := client.For[*corev1.Pod](f), client.For[*corev1.Namespace](f)
	pod := must(pods.Create(f.ctx, newPod("pod")))(t)
	space := must(namespaces.Get(f.ctx, "", "default"))(t)
	change := pod.DeepCopy()
	change.Labels = map[string]string{"changed": "true"}
	podResource := corev1.SchemeGroupVersion.WithResource("pods")
	for what, write := range map[string]func() error{
		"update binding": func() error {
			return second(f.Update(f.ctx, podResource, "default", "pod", "binding", change, metav1.UpdateOptions{}))
		},
		"update eviction": func() error {
			return second(f.Update(f.ctx, podResource, "default", "pod", "eviction", change, metav1.UpdateOptions{}))
		},
		"patch binding": func() error {
			return second(pods.Patch(f.ctx, "default", "pod", "binding", types.MergePatchType, []byte(`{"metadata":{"labels":{"changed":"true"}}}`)))
		},
		"apply binding": func() error {
			return second(pods.Patch(f.ctx, "default", "pod", "binding", types.ApplyYAMLPatchType, []byte(`{}`)))
		},
		"patch finalize": func() error {
			return second(namespaces.Patch(f.ctx, "", "default", "finalize", types.MergePatchType, []byte(`{}`)))
		},
		"create status": func() error {
			return second(f.Create(f.ctx, podResource, "default", "pod", "status", change, metav1.CreateOptions{}))
		},
		"get binding": func() error {
			return second(f.GetSubresource(f.ctx, podResource, "default", "pod", "binding", metav1.GetOptions{}))
		},
	} {
		if err := write(); !apierrors.IsMethodNotSupported(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if now := must(pods.Get(f.ctx, "default", "pod"))(t); now.ResourceVersion != pod.ResourceVersion {
		t.Errorf("the pod has changed: %v", now.Labels)
	}
	if now := must(namespaces.Get(f.ctx, "", "default"))(t); now.ResourceVersion != space.ResourceVersion {
		t.Error("the namespace has changed")
	}
}

func second[T any](_ T, err error) error { return err }

// recorder notes what it is asked, and allows it.
type recorder struct{ asked []string }

func (r *recorder) Authorize(a *auth.Attributes) (auth.Decision, string) {
	r.asked = append(r.asked, a.Verb+" "+a.Resource+" "+a.Name)
	return auth.Allow, ""
}

// TestNamesThatAreAuthorized: a create was authorized by the name that its body says, a list of one object without its name.
func TestNamesThatAreAuthorized(t *testing.T) {
	asked := &recorder{}
	f := newFixture(t, registry.Options{Authorizer: asked})
	maps := client.For[*corev1.ConfigMap](f)
	asked.asked = nil
	must(maps.Create(f.ctx, newConfigMap("a")))(t)
	for _, selector := range []string{"metadata.name=a", "metadata.name!=a", ""} {
		if _, _, err := maps.List(f.ctx, "default", metav1.ListOptions{FieldSelector: selector}); err != nil {
			t.Fatal(err)
		}
	}
	w := must(f.Watch(f.ctx, configMaps, "default", metav1.ListOptions{FieldSelector: "metadata.name=a"}))(t)
	w.Stop()
	want := []string{"create configmaps ", "list configmaps a", "list configmaps ", "list configmaps ", "watch configmaps a"}
	if !slices.Equal(asked.asked, want) {
		t.Errorf("asked %q, want %q", asked.asked, want)
	}
}

// TestNodeIsCreatedWithItsStatus: what a node says of itself when it registers was dropped.
func TestNodeIsCreatedWithItsStatus(t *testing.T) {
	f := newFixture(t, registry.Options{})
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}, Status: corev1.NodeStatus{NodeInfo: corev1.NodeSystemInfo{KubeletVersion: "v1.33.4"}}}
	created := must(client.For[*corev1.Node](f).Create(f.ctx, node))(t)
	if created.Status.NodeInfo.KubeletVersion != "v1.33.4" {
		t.Errorf("status %+v", created.Status)
	}
	pod := newPod("pod")
	pod.Status.Phase = corev1.PodRunning
	if created := must(client.For[*corev1.Pod](f).Create(f.ctx, pod))(t); created.Status.Phase != corev1.PodPending {
		t.Errorf("a pod's status was believed: %+v", created.Status)
	}
}
