package clienttest_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/apiserver/registry"
	"github.com/ctlplane/ctlplane/apiserver/registry/registrytest"
	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/client/clienttest"
)

// TestAnswersAsTheRegistry runs the same scenarios on the cluster in memory and on the API server's
// registry: what a loop was tested with is what it meets.
func TestAnswersAsTheRegistry(t *testing.T) {
	for name, scenario := range map[string]func(*testing.T, context.Context, client.Objects){
		"versions":    versionsScenario,
		"status":      statusScenario,
		"binding":     bindingScenario,
		"grace":       graceScenario,
		"finalizers":  finalizersScenario,
		"patches":     patchesScenario,
		"scale":       scaleScenario,
		"selection":   selectionScenario,
		"watch":       watchScenario,
		"watch lists": watchListScenario,
		"namespaces":  namespacesScenario,
		"pod ranges":  podRangesScenario,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(registrytest.Admin(t), 30*time.Second)
			defer cancel()
			t.Run("in memory", func(t *testing.T) { scenario(t, ctx, clienttest.New()) })
			t.Run("registry", func(t *testing.T) {
				scenario(t, ctx, registrytest.New(t, registrytest.NewStorage(t), registry.Options{}))
			})
		})
	}
}

func createPod(t *testing.T, ctx context.Context, objects client.Objects, change ...func(*corev1.Pod)) *corev1.Pod {
	t.Helper()
	pod := testPod("a")
	for _, f := range change {
		f(pod)
	}
	return must[*corev1.Pod](t)(client.For[*corev1.Pod](objects).Create(ctx, pod))
}

func bindPod(t *testing.T, ctx context.Context, objects client.Objects, pod *corev1.Pod) {
	t.Helper()
	binding := &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: pod.Name}, Target: corev1.ObjectReference{Kind: "Node", Name: "n1"}}
	if err := client.Bind(ctx, objects, binding); err != nil {
		t.Fatal(err)
	}
}

func versionsScenario(t *testing.T, ctx context.Context, objects client.Objects) {
	maps := client.For[*corev1.ConfigMap](objects)
	fresh := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", GenerateName: "m-"}}
	created := must[*corev1.ConfigMap](t)(maps.Create(ctx, fresh))
	if created.UID == "" || created.ResourceVersion == "" || created.CreationTimestamp.IsZero() || len(created.Name) != len("m-")+5 {
		t.Errorf("created %+v", created.ObjectMeta)
	}
	_, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: created.Name}})
	expectError(t, err, apierrors.IsAlreadyExists, "AlreadyExists")
	_, err = maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default"}})
	expectError(t, err, apierrors.IsInvalid, "Invalid")

	change := created.DeepCopy()
	change.Data = map[string]string{"a": "b"}
	updated := must[*corev1.ConfigMap](t)(maps.Update(ctx, change))
	if updated.ResourceVersion == created.ResourceVersion || updated.UID != created.UID {
		t.Errorf("updated %+v", updated.ObjectMeta)
	}
	_, err = maps.Update(ctx, change)
	expectError(t, err, apierrors.IsConflict, "Conflict")
	if same := must[*corev1.ConfigMap](t)(maps.Update(ctx, updated.DeepCopy())); same.ResourceVersion != updated.ResourceVersion {
		t.Error("an update that changes nothing took a version")
	}
	_, err = maps.Get(ctx, "default", "none")
	expectError(t, err, apierrors.IsNotFound, "NotFound")
	err = maps.Delete(ctx, "default", created.Name, metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions("another")})
	expectError(t, err, apierrors.IsConflict, "Conflict")
	if err := maps.Delete(ctx, "default", created.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	err = maps.Delete(ctx, "default", created.Name, metav1.DeleteOptions{})
	expectError(t, err, apierrors.IsNotFound, "NotFound")
}

func statusScenario(t *testing.T, ctx context.Context, objects client.Objects) {
	pod := createPod(t, ctx, objects, func(p *corev1.Pod) { p.Status.Phase = corev1.PodRunning })
	if pod.Status.Phase != corev1.PodPending {
		t.Errorf("a new pod is %s", pod.Status.Phase)
	}
	change := pod.DeepCopy()
	change.Status.Phase = corev1.PodRunning
	change.Spec.Containers[0].Image = "other"
	got := must[*corev1.Pod](t)(client.For[*corev1.Pod](objects).UpdateStatus(ctx, change))
	if got.Status.Phase != corev1.PodRunning || got.Spec.Containers[0].Image != "one" || got.Generation != pod.Generation {
		t.Errorf("the status update gave %s, %s, generation %d", got.Status.Phase, got.Spec.Containers[0].Image, got.Generation)
	}
	change = got.DeepCopy()
	change.Status.Phase = corev1.PodFailed
	metav1.SetMetaDataLabel(&change.ObjectMeta, "x", "y")
	got = must[*corev1.Pod](t)(client.For[*corev1.Pod](objects).Update(ctx, change))
	if got.Status.Phase != corev1.PodRunning || got.Labels["x"] != "y" {
		t.Errorf("the update gave %s, %v", got.Status.Phase, got.Labels)
	}
}

func bindingScenario(t *testing.T, ctx context.Context, objects client.Objects) {
	pod := createPod(t, ctx, objects)
	binding := &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a", UID: "another"},
		Target:     corev1.ObjectReference{Kind: "Node", Name: "n1"},
	}
	expectError(t, client.Bind(ctx, objects, binding), apierrors.IsConflict, "Conflict for another UID")
	binding.UID, binding.ResourceVersion = pod.UID, "1"
	expectError(t, client.Bind(ctx, objects, binding), apierrors.IsConflict, "Conflict for another version")
	binding.ResourceVersion = pod.ResourceVersion
	if err := client.Bind(ctx, objects, binding); err != nil {
		t.Fatal(err)
	}
	got := must[*corev1.Pod](t)(client.For[*corev1.Pod](objects).Get(ctx, "default", "a"))
	if got.Spec.NodeName != "n1" || len(got.Status.Conditions) != 1 || got.Status.Conditions[0].Type != corev1.PodScheduled {
		t.Errorf("the pod is on %q with %v", got.Spec.NodeName, got.Status.Conditions)
	}
	binding.ResourceVersion = ""
	expectError(t, client.Bind(ctx, objects, binding), apierrors.IsConflict, "Conflict for a bound pod")
}

func graceScenario(t *testing.T, ctx context.Context, objects client.Objects) {
	pods := client.For[*corev1.Pod](objects)
	createPod(t, ctx, objects)
	if err := pods.Delete(ctx, "default", "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err := pods.Get(ctx, "default", "a")
	expectError(t, err, apierrors.IsNotFound, "a pod without a node to go at once")

	bindPod(t, ctx, objects, createPod(t, ctx, objects))
	for _, grace := range []int64{20, 5} {
		if err := pods.Delete(ctx, "default", "a", metav1.DeleteOptions{GracePeriodSeconds: &grace}); err != nil {
			t.Fatal(err)
		}
		got := must[*corev1.Pod](t)(pods.Get(ctx, "default", "a"))
		if got.DeletionTimestamp == nil || ptr.Deref(got.DeletionGracePeriodSeconds, -1) != grace {
			t.Errorf("deletion is at %v, in %v seconds", got.DeletionTimestamp, got.DeletionGracePeriodSeconds)
		}
	}
	if err := pods.Delete(ctx, "default", "a", metav1.DeleteOptions{GracePeriodSeconds: ptr.To[int64](0)}); err != nil {
		t.Fatal(err)
	}
	_, err = pods.Get(ctx, "default", "a")
	expectError(t, err, apierrors.IsNotFound, "the pod to be gone")
}

func finalizersScenario(t *testing.T, ctx context.Context, objects client.Objects) {
	maps := client.For[*corev1.ConfigMap](objects)
	must[*corev1.ConfigMap](t)(maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a", Finalizers: []string{"example.com/hold"}}}))
	foreground := metav1.DeletePropagationForeground
	if err := maps.Delete(ctx, "default", "a", metav1.DeleteOptions{PropagationPolicy: &foreground}); err != nil {
		t.Fatal(err)
	}
	held := must[*corev1.ConfigMap](t)(maps.Get(ctx, "default", "a"))
	if held.DeletionTimestamp == nil || len(held.Finalizers) != 2 {
		t.Errorf("held by %v since %v", held.Finalizers, held.DeletionTimestamp)
	}
	must[*corev1.ConfigMap](t)(maps.Modify(ctx, "default", "a", func(m *corev1.ConfigMap) error { m.Finalizers = nil; return nil }))
	_, err := maps.Get(ctx, "default", "a")
	expectError(t, err, apierrors.IsNotFound, "the object to go with its last finalizer")
}

func testDeployment() *appsv1.Deployment {
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](1),
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "web"}},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "one"}, {Name: "side", Image: "one"}}},
			},
		},
	}
}

func patchesScenario(t *testing.T, ctx context.Context, objects client.Objects) {
	deployments := client.For[*appsv1.Deployment](objects)
	must[*appsv1.Deployment](t)(deployments.Create(ctx, testDeployment()))
	for _, tc := range []struct {
		pt                 types.PatchType
		subresource, patch string
	}{
		{types.JSONPatchType, "", `[{"op":"replace","path":"/spec/replicas","value":2}]`},
		{types.MergePatchType, "", `{"metadata":{"labels":{"a":"b"}}}`},
		{types.StrategicMergePatchType, "", `{"spec":{"template":{"spec":{"containers":[{"name":"side","image":"two"}]}}}}`},
		{types.MergePatchType, "status", `{"spec":{"replicas":9},"status":{"replicas":2}}`},
	} {
		if _, err := deployments.Patch(ctx, "default", "web", tc.subresource, tc.pt, []byte(tc.patch)); err != nil {
			t.Errorf("%s: %v", tc.patch, err)
		}
	}
	got := must[*appsv1.Deployment](t)(deployments.Get(ctx, "default", "web"))
	containers := got.Spec.Template.Spec.Containers
	if *got.Spec.Replicas != 2 || got.Labels["a"] != "b" || len(containers) != 2 || containers[1].Image != "two" || got.Status.Replicas != 2 {
		t.Errorf("patched to %+v", got)
	}
	if got.Generation != 3 {
		t.Errorf("generation is %d, expected one more for each change of the spec", got.Generation)
	}
	_, err := deployments.Patch(ctx, "default", "web", "", types.MergePatchType, []byte(`{"metadata":{"resourceVersion":"1"}}`))
	expectError(t, err, apierrors.IsConflict, "Conflict")
	_, err = deployments.Patch(ctx, "default", "web", "", types.MergePatchType, []byte(`{"metadata":{"uid":"another"}}`))
	expectError(t, err, apierrors.IsConflict, "Conflict for another UID")
	_, err = deployments.Patch(ctx, "default", "none", "", types.MergePatchType, []byte(`{}`))
	expectError(t, err, apierrors.IsNotFound, "NotFound")
}

func scaleScenario(t *testing.T, ctx context.Context, objects client.Objects) {
	must[*appsv1.Deployment](t)(client.For[*appsv1.Deployment](objects).Create(ctx, testDeployment()))
	patched, err := objects.Patch(ctx, deploymentResource, "default", "web", "scale", types.MergePatchType, []byte(`{"spec":{"replicas":5}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	scale := patched.(*autoscalingv1.Scale).DeepCopy()
	if scale.Spec.Replicas != 5 || scale.Status.Selector != "app=web" {
		t.Errorf("scale is %+v", scale)
	}
	scale.Spec.Replicas = 3
	if _, err := objects.Update(ctx, deploymentResource, "default", "web", "scale", scale, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := must[*appsv1.Deployment](t)(client.For[*appsv1.Deployment](objects).Get(ctx, "default", "web")); *got.Spec.Replicas != 3 {
		t.Errorf("there are %d replicas", *got.Spec.Replicas)
	}
}

func selectionScenario(t *testing.T, ctx context.Context, objects client.Objects) {
	bindPod(t, ctx, objects, createPod(t, ctx, objects))
	createPod(t, ctx, objects, func(p *corev1.Pod) { p.Name, p.Labels = "b", nil })
	for selectors, want := range map[metav1.ListOptions]int{
		{}:                                     2,
		{LabelSelector: "app=web"}:             1,
		{LabelSelector: "!app"}:                1,
		{FieldSelector: "spec.nodeName=n1"}:    1,
		{FieldSelector: "spec.nodeName="}:      1,
		{FieldSelector: "metadata.name=b"}:     1,
		{FieldSelector: "status.phase=Failed"}: 0,
	} {
		items, version, err := client.For[*corev1.Pod](objects).List(ctx, "", selectors)
		if err != nil || len(items) != want || version == "" {
			t.Errorf("%+v: %d items at %q, %v; expected %d", selectors, len(items), version, err, want)
		}
	}
	_, err := objects.List(ctx, podResource, "", metav1.ListOptions{FieldSelector: "spec.nonsense=1"})
	expectError(t, err, apierrors.IsBadRequest, "BadRequest")
}

func expectEvents(t *testing.T, w watch.Interface, want ...string) {
	t.Helper()
	for _, expected := range want {
		kind, obj := next(t, w)
		if got := fmt.Sprintf("%s %s", kind, obj.GetName()); got != expected {
			t.Errorf("event is %s, expected %s", got, expected)
		}
	}
}

func watchScenario(t *testing.T, ctx context.Context, objects client.Objects) {
	pods := client.For[*corev1.Pod](objects)
	pod := createPod(t, ctx, objects)
	_, from, err := pods.List(ctx, "", metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	must[*corev1.Pod](t)(pods.Modify(ctx, "default", "a", func(p *corev1.Pod) error { p.Labels = nil; return nil }))
	must[*corev1.Pod](t)(pods.Modify(ctx, "default", "a", func(p *corev1.Pod) error { p.Labels = pod.Labels; return nil }))
	must[*corev1.Pod](t)(pods.Modify(ctx, "default", "a", func(p *corev1.Pod) error { p.Annotations = map[string]string{"x": "y"}; return nil }))
	if err := pods.Delete(ctx, "default", "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	for options, want := range map[metav1.ListOptions][]string{
		{ResourceVersion: from}:                           {"MODIFIED a", "MODIFIED a", "MODIFIED a", "DELETED a"},
		{ResourceVersion: from, LabelSelector: "app=web"}: {"DELETED a", "ADDED a", "MODIFIED a", "DELETED a"},
		{ResourceVersion: from, LabelSelector: "!app"}:    {"ADDED a", "DELETED a"},
	} {
		w := must[watch.Interface](t)(pods.Watch(ctx, "", options))
		expectEvents(t, w, want...)
		w.Stop()
	}
}

func watchListScenario(t *testing.T, ctx context.Context, objects client.Objects) {
	createPod(t, ctx, objects)
	w := must[watch.Interface](t)(objects.Watch(ctx, podResource, "", metav1.ListOptions{
		SendInitialEvents: ptr.To(true), AllowWatchBookmarks: true, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
	}))
	defer w.Stop()
	expectEvents(t, w, "ADDED a")
	kind, mark := next(t, w)
	if kind != watch.Bookmark || mark.GetAnnotations()[metav1.InitialEventsAnnotationKey] != "true" || mark.GetResourceVersion() == "" {
		t.Errorf("the initial events end with %s %+v", kind, mark)
	}
	createPod(t, ctx, objects, func(p *corev1.Pod) { p.Name = "b" })
	expectEvents(t, w, "ADDED b")
}

func namespacesScenario(t *testing.T, ctx context.Context, objects client.Objects) {
	namespaces := client.For[*corev1.Namespace](objects)
	created := must[*corev1.Namespace](t)(namespaces.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}}))
	if created.Status.Phase != corev1.NamespaceActive || len(created.Spec.Finalizers) != 1 {
		t.Errorf("the namespace is %+v", created)
	}
	if err := namespaces.Delete(ctx, "", "team", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	ending := must[*corev1.Namespace](t)(namespaces.Get(ctx, "", "team")).DeepCopy()
	if ending.Status.Phase != corev1.NamespaceTerminating || ending.DeletionTimestamp == nil {
		t.Errorf("the namespace is %+v", ending)
	}
	_, err := client.For[*corev1.ConfigMap](objects).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "a"}})
	expectError(t, err, func(err error) bool {
		return apierrors.IsForbidden(err) && apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
	}, "NamespaceTerminating")
	ending.Spec.Finalizers = nil
	if _, err := objects.Update(ctx, corev1.SchemeGroupVersion.WithResource("namespaces"), "", "team", "finalize", ending, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, err = namespaces.Get(ctx, "", "team")
	expectError(t, err, apierrors.IsNotFound, "the namespace to be gone")
}

// podRangesScenario gives two nodes one range of pod addresses.
func podRangesScenario(t *testing.T, ctx context.Context, objects client.Objects) {
	nodes := client.For[*corev1.Node](objects)
	give := func(name, cidr string) error {
		_, err := nodes.Modify(ctx, "", name, func(n *corev1.Node) error {
			n.Spec.PodCIDR, n.Spec.PodCIDRs = cidr, []string{cidr}
			return nil
		})
		return err
	}
	for _, name := range []string{"a", "b"} {
		if _, err := nodes.Create(ctx, &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}); err != nil {
			t.Fatal(err)
		}
	}
	if err := give("a", "10.48.0.0/25"); err != nil {
		t.Fatal(err)
	}
	if err := give("b", "10.48.0.0/25"); !apierrors.IsInvalid(err) || !strings.Contains(err.Error(), "another node has this range") {
		t.Errorf("b was given a's range: %v", err)
	}
	if err := nodes.Delete(ctx, "", "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := give("b", "10.48.0.0/25"); err != nil {
		t.Errorf("the range of a node that has gone can't be given to another: %v", err)
	}
}
