package looptest

import (
	"context"
	"reflect"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/client"
)

// Create stores an object or fails the test.
func Create[T client.Object](t *testing.T, objects client.Objects, obj T) T {
	t.Helper()
	created, err := client.For[T](objects).Create(t.Context(), obj)
	if err != nil {
		t.Fatalf("creating %T %s/%s: %v", obj, obj.GetNamespace(), obj.GetName(), err)
	}
	return created
}

// Get reads an object or fails the test.
func Get[T client.Object](t *testing.T, objects client.Objects, namespace, name string) T {
	t.Helper()
	obj, err := client.For[T](objects).Get(t.Context(), namespace, name)
	if err != nil {
		t.Fatalf("reading %T %s/%s: %v", obj, namespace, name, err)
	}
	return obj
}

// List reads all objects of a namespace or fails the test.
func List[T client.Object](t *testing.T, objects client.Objects, namespace string) []T {
	t.Helper()
	items, _, err := client.For[T](objects).List(context.WithoutCancel(t.Context()), namespace, metav1.ListOptions{})
	if err != nil {
		t.Fatalf("listing in %q: %v", namespace, err)
	}
	return items
}

// Change reads an object, changes a copy and stores what changed, its status or else; or fails the test. It is
// no failure that this ended the object's deletion.
func Change[T client.Object](t *testing.T, objects client.Objects, namespace, name string, change func(T)) {
	t.Helper()
	typed := client.For[T](objects)
	for {
		before := Get[T](t, objects, namespace, name)
		obj := before.DeepCopyObject().(T)
		change(obj)
		updated, err := typed.Update(t.Context(), obj)
		if err == nil && !equality.Semantic.DeepEqual(statusOf(obj), statusOf(before)) {
			obj.SetResourceVersion(updated.GetResourceVersion())
			_, err = typed.UpdateStatus(t.Context(), obj)
		}
		switch {
		case err == nil, apierrors.IsNotFound(err):
			return
		case !apierrors.IsConflict(err): // a controller was faster
			t.Fatalf("updating %T %s/%s: %v", obj, namespace, name, err)
		}
	}
}

// statusOf is an object's status; nil if its kind has none.
func statusOf(obj client.Object) any {
	status := reflect.ValueOf(obj).Elem().FieldByName("Status")
	if !status.IsValid() {
		return nil
	}
	return status.Interface()
}

// Template is a pod template with one container that runs the given image.
func Template(app, image string) corev1.PodTemplateSpec {
	return corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": app}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: image}}},
	}
}

// ReplicaSet is a set in namespace default of pods labelled app=name.
func ReplicaSet(name string, replicas int32) *appsv1.ReplicaSet {
	return &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name},
		Spec: appsv1.ReplicaSetSpec{
			Replicas: ptr.To(replicas),
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}},
			Template: Template(name, "image:1"),
		},
	}
}

// MakeReady makes a pod run on a node, ready since the given time.
func MakeReady(pod *corev1.Pod, node string, since metav1.Time) {
	pod.Spec.NodeName = node
	pod.Status.Phase = corev1.PodRunning
	SetReady(pod, corev1.ConditionTrue, since)
}

// SetReady sets a pod's condition Ready.
func SetReady(pod *corev1.Pod, status corev1.ConditionStatus, since metav1.Time) {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == corev1.PodReady {
			pod.Status.Conditions[i].Status = status
			pod.Status.Conditions[i].LastTransitionTime = since
			return
		}
	}
	pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{
		Type: corev1.PodReady, Status: status, LastTransitionTime: since})
}
