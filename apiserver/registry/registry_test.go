package registry_test

import (
	"context"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/ctlplane/ctlplane/apiserver/registry"
	"github.com/ctlplane/ctlplane/apiserver/registry/registrytest"
	"github.com/ctlplane/ctlplane/client"
)

// Registry is what the control loops take.
var _ client.Objects = (*registry.Registry)(nil)

// eventually bounds the waits of these tests.
const eventually = 60 * time.Second

type fixture struct {
	*registry.Registry
	storage *registrytest.Storage
	ctx     context.Context
}

func newFixture(t *testing.T, opts registry.Options) *fixture {
	t.Helper()
	storage := registrytest.NewStorage(t)
	return &fixture{Registry: registrytest.New(t, storage, opts), storage: storage, ctx: registrytest.Admin(t)}
}

func newConfigMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Data:       map[string]string{"key": "value"},
	}
}

func newPod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default", Labels: map[string]string{"app": "web"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "image"}}},
	}
}

func newDeployment(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "default"},
		Spec: appsv1.DeploymentSpec{
			Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "image"}}},
			},
		},
	}
}

func must[T any](v T, err error) func(*testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func next(t *testing.T, w watch.Interface) watch.Event {
	t.Helper()
	select {
	case ev, ok := <-w.ResultChan():
		if !ok {
			t.Fatal("the watch has ended")
		}
		return ev
	case <-time.After(eventually):
		t.Fatal("no event came")
	}
	return watch.Event{}
}

func TestCreateSetsWhatIsTheServers(t *testing.T) {
	f := newFixture(t, registry.Options{})
	pods := client.For[*corev1.Pod](f)
	given := newPod("")
	given.GenerateName = "web-"
	given.Status.Phase = corev1.PodRunning
	pod := must(pods.Create(f.ctx, given))(t)
	if given.Name != "" || given.UID != "" {
		t.Error("create changed the caller's object")
	}
	if len(pod.Name) != len("web-")+5 || pod.UID == "" || pod.CreationTimestamp.IsZero() || pod.ResourceVersion == "" || pod.Generation != 1 {
		t.Errorf("metadata is incomplete: %+v", pod.ObjectMeta)
	}
	if pod.Status.Phase != corev1.PodPending || pod.Spec.RestartPolicy != corev1.RestartPolicyAlways || pod.Spec.ServiceAccountName != "default" {
		t.Errorf("pod is not as a new one should be: %+v %+v", pod.Spec, pod.Status)
	}
	read := must(pods.Get(f.ctx, "default", pod.Name))(t)
	if read.ResourceVersion != pod.ResourceVersion || read.UID != pod.UID || read.Kind != "Pod" {
		t.Errorf("read back %+v", read.ObjectMeta)
	}
	if _, err := pods.Create(f.ctx, pod); !apierrors.IsBadRequest(err) {
		t.Errorf("create with a resource version: %v", err)
	}
	taken := newPod(pod.Name)
	if _, err := pods.Create(f.ctx, taken); !apierrors.IsAlreadyExists(err) {
		t.Errorf("create of a name that is taken: %v", err)
	}
}

func TestUpdateConflictsOnStaleVersion(t *testing.T) {
	f := newFixture(t, registry.Options{})
	maps := client.For[*corev1.ConfigMap](f)
	first := must(maps.Create(f.ctx, newConfigMap("a")))(t)
	change := first.DeepCopy()
	change.Data["key"] = "second"
	second := must(maps.Update(f.ctx, change))(t)
	if _, err := maps.Update(f.ctx, change); !apierrors.IsConflict(err) {
		t.Fatalf("stale update: %v", err)
	}
	same := must(maps.Update(f.ctx, second.DeepCopy()))(t)
	if same.ResourceVersion != second.ResourceVersion {
		t.Error("an update that changes nothing made a version")
	}
	change.ResourceVersion = ""
	change.Data["key"] = "third"
	must(maps.Update(f.ctx, change))(t)
	change.UID = types.UID("another")
	if _, err := maps.Update(f.ctx, change); !apierrors.IsConflict(err) {
		t.Errorf("update of another object of the name: %v", err)
	}
}

func TestStatusAndSpecAreWrittenApart(t *testing.T) {
	f := newFixture(t, registry.Options{})
	deployments := client.For[*appsv1.Deployment](f)
	d := must(deployments.Create(f.ctx, newDeployment("web", 1)))(t).DeepCopy()
	if d.Generation != 1 {
		t.Errorf("generation %d", d.Generation)
	}
	two := int32(2)
	d.Spec.Replicas, d.Status.Replicas = &two, 7
	d = must(deployments.Update(f.ctx, d))(t).DeepCopy()
	if d.Generation != 2 || d.Status.Replicas != 0 {
		t.Errorf("after an update of the spec: generation %d, status %+v", d.Generation, d.Status)
	}
	three := int32(3)
	d.Spec.Replicas, d.Status.Replicas = &three, 7
	d = must(deployments.UpdateStatus(f.ctx, d))(t)
	if d.Generation != 2 || *d.Spec.Replicas != 2 || d.Status.Replicas != 7 {
		t.Errorf("after an update of the status: generation %d, %d replicas wanted, status %+v", d.Generation, *d.Spec.Replicas, d.Status)
	}
}

func TestBindingIsGuarded(t *testing.T) {
	f := newFixture(t, registry.Options{})
	pod := must(client.For[*corev1.Pod](f).Create(f.ctx, newPod("web")))(t)
	binding := func(uid types.UID, version, node string) error {
		return client.Bind(f.ctx, f, &corev1.Binding{
			ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default", UID: uid, ResourceVersion: version},
			Target:     corev1.ObjectReference{Kind: "Node", Name: node},
		})
	}
	if err := binding("other", "", "n1"); !apierrors.IsConflict(err) {
		t.Errorf("binding of another pod: %v", err)
	}
	if err := binding("", "1", "n1"); !apierrors.IsConflict(err) {
		t.Errorf("binding of an older version: %v", err)
	}
	if err := binding(pod.UID, pod.ResourceVersion, "n1"); err != nil {
		t.Fatal(err)
	}
	if err := binding("", "", "n2"); !apierrors.IsConflict(err) {
		t.Errorf("second binding: %v", err)
	}
	bound := must(client.For[*corev1.Pod](f).Get(f.ctx, "default", "web"))(t)
	if bound.Spec.NodeName != "n1" || len(bound.Status.Conditions) != 1 || bound.Status.Conditions[0].Type != corev1.PodScheduled {
		t.Errorf("bound pod: %q, %+v", bound.Spec.NodeName, bound.Status.Conditions)
	}
	must(client.For[*corev1.Pod](f).Watch(f.ctx, "", metav1.ListOptions{}))(t).Stop() // the cache is up to date now
	if pods := f.PodsOnNode("n1"); len(pods) != 1 {
		t.Errorf("%d pods on the node", len(pods))
	}
}

func TestWatchSeesSelectorTransitions(t *testing.T) {
	f := newFixture(t, registry.Options{})
	pods := client.For[*corev1.Pod](f)
	w := must(pods.Watch(f.ctx, "default", metav1.ListOptions{LabelSelector: "app=web", ResourceVersion: "0"}))(t)
	defer w.Stop()
	must(pods.Create(f.ctx, newPod("a")))(t)
	if ev := next(t, w); ev.Type != watch.Added {
		t.Fatalf("got %v", ev.Type)
	}
	must(pods.Patch(f.ctx, "default", "a", "", types.MergePatchType, []byte(`{"metadata":{"labels":{"app":"db"}}}`)))(t)
	if ev := next(t, w); ev.Type != watch.Deleted {
		t.Fatalf("an object that ceases to match: %v", ev.Type)
	}
	must(pods.Patch(f.ctx, "default", "a", "", types.MergePatchType, []byte(`{"metadata":{"labels":{"app":"web"}}}`)))(t)
	if ev := next(t, w); ev.Type != watch.Added {
		t.Fatalf("an object that comes to match: %v", ev.Type)
	}
	if err := pods.Delete(f.ctx, "default", "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if ev := next(t, w); ev.Type != watch.Deleted {
		t.Fatalf("deletion: %v", ev.Type)
	}
}
