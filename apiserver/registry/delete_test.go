package registry_test

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/apiserver/registry"
	"github.com/ctlplane/ctlplane/client"
)

var podsResource = corev1.SchemeGroupVersion.WithResource("pods")

func (f *fixture) bind(t *testing.T, pod string) {
	t.Helper()
	err := client.Bind(f.ctx, f, &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Name: pod, Namespace: "default"}, Target: corev1.ObjectReference{Name: "n1"}})
	if err != nil {
		t.Fatal(err)
	}
}

func grace(seconds int64) metav1.DeleteOptions {
	return metav1.DeleteOptions{GracePeriodSeconds: &seconds}
}

func TestPodsEndGracefully(t *testing.T) {
	f := newFixture(t, registry.Options{})
	pods := client.For[*corev1.Pod](f)
	must(pods.Create(f.ctx, newPod("unscheduled")))(t)
	if err := pods.Delete(f.ctx, "default", "unscheduled", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := pods.Get(f.ctx, "default", "unscheduled"); !apierrors.IsNotFound(err) {
		t.Errorf("a pod that no node has: %v", err)
	}
	must(pods.Create(f.ctx, newPod("web")))(t)
	f.bind(t, "web")
	left := func() int64 {
		t.Helper()
		pod := must(pods.Get(f.ctx, "default", "web"))(t)
		if pod.DeletionTimestamp == nil {
			t.Fatal("the pod is not being deleted")
		}
		return *pod.DeletionGracePeriodSeconds
	}
	for _, step := range []struct {
		opts metav1.DeleteOptions
		want int64
	}{{metav1.DeleteOptions{}, 30}, {grace(60), 30}, {grace(10), 10}, {metav1.DeleteOptions{}, 10}} {
		must(f.Delete(f.ctx, podsResource, "default", "web", step.opts))(t)
		if got := left(); got != step.want {
			t.Errorf("after %+v: %d seconds, wanted %d", step.opts, got, step.want)
		}
	}
	if err := client.Bind(f.ctx, f, &corev1.Binding{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default"}, Target: corev1.ObjectReference{Name: "n"}}); !apierrors.IsConflict(err) {
		t.Errorf("binding of a pod that is being deleted: %v", err)
	}
	other := types.UID("other")
	final := grace(0)
	final.Preconditions = &metav1.Preconditions{UID: &other}
	if _, err := f.Delete(f.ctx, podsResource, "default", "web", final); !apierrors.IsConflict(err) {
		t.Errorf("deletion of another pod: %v", err)
	}
	must(f.Delete(f.ctx, podsResource, "default", "web", grace(0)))(t)
	if _, err := pods.Get(f.ctx, "default", "web"); !apierrors.IsNotFound(err) {
		t.Errorf("after grace 0: %v", err)
	}
	if err := pods.Delete(f.ctx, "default", "web", metav1.DeleteOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("second deletion: %v", err)
	}
}

func TestFinalizersHoldAnObject(t *testing.T) {
	f := newFixture(t, registry.Options{})
	maps := client.For[*corev1.ConfigMap](f)
	held := newConfigMap("a")
	held.Finalizers = []string{"example.com/hold"}
	must(maps.Create(f.ctx, held))(t)
	if err := maps.Delete(f.ctx, "default", "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	deleting := must(maps.Get(f.ctx, "default", "a"))(t)
	if deleting.DeletionTimestamp == nil {
		t.Fatal("not marked")
	}
	must(maps.Patch(f.ctx, "default", "a", "", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`)))(t)
	if _, err := maps.Get(f.ctx, "default", "a"); !apierrors.IsNotFound(err) {
		t.Errorf("after the last finalizer: %v", err)
	}
}

func TestPropagationSetsFinalizers(t *testing.T) {
	f := newFixture(t, registry.Options{})
	deployments := client.For[*appsv1.Deployment](f)
	for policy, want := range map[metav1.DeletionPropagation]string{
		metav1.DeletePropagationOrphan:     metav1.FinalizerOrphanDependents,
		metav1.DeletePropagationForeground: metav1.FinalizerDeleteDependents,
	} {
		must(deployments.Create(f.ctx, newDeployment("web", 1)))(t)
		if err := deployments.Delete(f.ctx, "default", "web", metav1.DeleteOptions{PropagationPolicy: &policy}); err != nil {
			t.Fatal(err)
		}
		d := must(deployments.Get(f.ctx, "default", "web"))(t)
		if d.DeletionTimestamp == nil || len(d.Finalizers) != 1 || d.Finalizers[0] != want {
			t.Errorf("%s: %v", policy, d.Finalizers)
		}
		background := metav1.DeletePropagationBackground
		if err := deployments.Delete(f.ctx, "default", "web", metav1.DeleteOptions{PropagationPolicy: &background}); err != nil {
			t.Fatal(err)
		}
		if _, err := deployments.Get(f.ctx, "default", "web"); !apierrors.IsNotFound(err) {
			t.Errorf("after a deletion in the background: %v", err)
		}
	}
}

func TestNamespacesEndInTwoSteps(t *testing.T) {
	f := newFixture(t, registry.Options{})
	namespaces := client.For[*corev1.Namespace](f)
	maps := client.For[*corev1.ConfigMap](f)
	inside := newConfigMap("a")
	inside.Namespace = "team"
	if _, err := maps.Create(f.ctx, inside); !apierrors.IsNotFound(err) {
		t.Errorf("create in a namespace that there isn't: %v", err)
	}
	must(namespaces.Create(f.ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team"}}))(t)
	must(maps.Create(f.ctx, inside))(t)
	if err := namespaces.Delete(f.ctx, "", "team", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	namespace := must(namespaces.Get(f.ctx, "", "team"))(t).DeepCopy()
	if namespace.DeletionTimestamp == nil || namespace.Status.Phase != corev1.NamespaceTerminating {
		t.Fatalf("namespace: %+v", namespace)
	}
	inside.Name = "b"
	if _, err := maps.Create(f.ctx, inside); !apierrors.IsForbidden(err) || !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
		t.Errorf("create in a namespace that ends: %v", err)
	}
	namespace.Spec.Finalizers = nil
	gvr := corev1.SchemeGroupVersion.WithResource("namespaces")
	must(f.Update(f.ctx, gvr, "", "team", "finalize", namespace, metav1.UpdateOptions{}))(t)
	if _, err := namespaces.Get(f.ctx, "", "team"); !apierrors.IsNotFound(err) {
		t.Errorf("a namespace without finalizers: %v", err)
	}
	if err := namespaces.Delete(f.ctx, "", "default", metav1.DeleteOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("deletion of namespace default: %v", err)
	}
}

func TestDeleteCollection(t *testing.T) {
	f := newFixture(t, registry.Options{})
	f.fill(t, 3)
	must(f.DeleteCollection(f.ctx, configMaps, "default", metav1.DeleteOptions{}, metav1.ListOptions{FieldSelector: "metadata.name!=a1"}))(t)
	if list := f.list(t, metav1.ListOptions{}); names(list) != "a1 " {
		t.Errorf("left: %s", names(list))
	}
}

// A request to delete without a namespace deleted the objects of all.
func TestNothingIsDeletedAcrossNamespaces(t *testing.T) {
	f := newFixture(t, registry.Options{})
	f.fill(t, 2)
	for _, resource := range []schema.GroupVersionResource{configMaps, corev1.SchemeGroupVersion.WithResource("namespaces")} {
		if _, err := f.DeleteCollection(f.ctx, resource, "", metav1.DeleteOptions{}, metav1.ListOptions{}); !apierrors.IsMethodNotSupported(err) {
			t.Errorf("deleting all %s: %v", resource.Resource, err)
		}
	}
	if list := f.list(t, metav1.ListOptions{}); names(list) != "a0 a1 " {
		t.Errorf("left: %s", names(list))
	}
}

func TestDryRunLeavesNoTrace(t *testing.T) {
	f := newFixture(t, registry.Options{})
	f.fill(t, 1)
	before := f.storage.Revision()
	dry := []string{metav1.DryRunAll}
	generated := newConfigMap("")
	generated.GenerateName = "x-"
	made := must(f.Create(f.ctx, configMaps, "default", "", "", generated, metav1.CreateOptions{DryRun: dry}))(t).(*corev1.ConfigMap)
	if made.Name == "" || made.UID == "" || made.ResourceVersion != "" {
		t.Errorf("create: %+v", made.ObjectMeta)
	}
	if _, err := f.Create(f.ctx, configMaps, "default", "", "", newConfigMap("a0"), metav1.CreateOptions{DryRun: dry}); !apierrors.IsAlreadyExists(err) {
		t.Errorf("create of a name that is taken: %v", err)
	}
	patched := must(f.Patch(f.ctx, configMaps, "default", "a0", "", types.MergePatchType, []byte(`{"data":{"key":"new"}}`), metav1.PatchOptions{DryRun: dry}))(t)
	if patched.(*corev1.ConfigMap).Data["key"] != "new" {
		t.Errorf("patch: %+v", patched)
	}
	must(f.Delete(f.ctx, configMaps, "default", "a0", metav1.DeleteOptions{DryRun: dry}))(t)
	if f.storage.Revision() != before {
		t.Errorf("the store went from %d to %d", before, f.storage.Revision())
	}
	if _, err := f.Delete(f.ctx, configMaps, "default", "a0", metav1.DeleteOptions{DryRun: []string{"Some"}}); err == nil {
		t.Error("a dry run of an unknown sort was taken for none")
	}
}

func TestEventsExpire(t *testing.T) {
	f := newFixture(t, registry.Options{})
	events := client.For[*corev1.Event](f)
	must(events.Create(f.ctx, &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Name: "e", Namespace: "default"},
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: "p", Namespace: "default"}, Type: "Normal", Reason: "Test",
	}))(t)
	leases := f.storage.Leases()
	if len(leases) != 1 {
		t.Fatalf("%d leases", len(leases))
	}
	if err := f.storage.LeaseRevoke(leases[0].ID); err != nil {
		t.Fatal(err)
	}
	if _, err := events.Get(f.ctx, "default", "e"); !apierrors.IsNotFound(err) {
		t.Errorf("after its lease: %v", err)
	}
	must(events.Create(f.ctx, &corev1.Event{ // its lease is a new one
		ObjectMeta:     metav1.ObjectMeta{Name: "e", Namespace: "default"},
		InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: "p", Namespace: "default"}, Type: "Normal", Reason: "Test",
	}))(t)
}

// A pod whose spec gives it no time to end has none; only what is negative means a second.
func TestPodsWithoutGraceAreGoneWithTheAnswer(t *testing.T) {
	f := newFixture(t, registry.Options{})
	pods := client.For[*corev1.Pod](f)
	for name, c := range map[string]struct {
		spec *int64
		opts metav1.DeleteOptions
		want int64
	}{
		"spec":     {ptr.To[int64](0), metav1.DeleteOptions{}, 0},
		"forced":   {nil, grace(0), 0},
		"longer":   {ptr.To[int64](0), grace(5), 5},
		"negative": {nil, grace(-1), 1},
	} {
		pod := newPod(name)
		pod.Spec.TerminationGracePeriodSeconds = c.spec
		must(pods.Create(f.ctx, pod))(t)
		f.bind(t, name)
		answer := must(f.Delete(f.ctx, podsResource, "default", name, c.opts))(t).(*corev1.Pod)
		if answer.DeletionTimestamp == nil || *answer.DeletionGracePeriodSeconds != c.want {
			t.Errorf("%s: the deletion is at %v with period %v, want %d", name, answer.DeletionTimestamp, answer.DeletionGracePeriodSeconds, c.want)
		}
		if _, err := pods.Get(f.ctx, "default", name); apierrors.IsNotFound(err) != (c.want == 0) {
			t.Errorf("%s: after the answer: %v", name, err)
		}
	}
	// Who deletes it once more and says nothing of time takes none away.
	must(f.Delete(f.ctx, podsResource, "default", "longer", metav1.DeleteOptions{}))(t)
	if pod := must(pods.Get(f.ctx, "default", "longer"))(t); *pod.DeletionGracePeriodSeconds != 5 {
		t.Errorf("deleted again: period %d", *pod.DeletionGracePeriodSeconds)
	}
}

// The node of a pod that is removed at once learns that the pod gets no time, before it learns that the pod is gone.
func TestNodesLearnThatAPodGetsNoTime(t *testing.T) {
	f := newFixture(t, registry.Options{})
	pods := client.For[*corev1.Pod](f)
	for name, opts := range map[string]metav1.DeleteOptions{
		"forced":         grace(0),
		"with a version": grace(0),
	} {
		must(pods.Create(f.ctx, newPod("p")))(t)
		f.bind(t, "p")
		bound := must(pods.Get(f.ctx, "default", "p"))(t)
		if name == "with a version" {
			opts.Preconditions = &metav1.Preconditions{UID: &bound.UID, ResourceVersion: &bound.ResourceVersion}
		}
		if _, _, err := pods.List(f.ctx, "default", metav1.ListOptions{}); err != nil { // now the cache has it
			t.Fatal(err)
		}
		w := must(f.Watch(f.ctx, podsResource, "default", metav1.ListOptions{ResourceVersion: bound.ResourceVersion}))(t)
		must(f.Delete(f.ctx, podsResource, "default", "p", opts))(t)
		for _, kind := range []watch.EventType{watch.Modified, watch.Deleted} {
			event := next(t, w)
			pod, ok := event.Object.(*corev1.Pod)
			if event.Type != kind || !ok || pod.DeletionTimestamp == nil || *pod.DeletionGracePeriodSeconds != 0 {
				t.Errorf("%s: event %s of %+v, want %s with a period of 0", name, event.Type, event.Object, kind)
			}
		}
		w.Stop()
	}
}
