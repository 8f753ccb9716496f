package registry_test

import (
	"fmt"
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
