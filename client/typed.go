package client

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/ctlplane/ctlplane/api/resource"
)

// Object is a typed object with metadata, such as *corev1.Pod.
type Object interface {
	runtime.Object
	metav1.Object
}

// Typed reaches the objects of one kind. The zero value is not usable: see For.
type Typed[T Object] struct {
	objects Objects
	info    *resource.Info
}

// For gives typed access to the kind T, as in For[*corev1.Pod](c).
// It panics when T is not in the resource table: that is a mistake in the program, not in its input.
func For[T Object](objects Objects) Typed[T] {
	var zero T
	info, err := resource.Of(zero)
	if err != nil {
		panic("client.For: " + err.Error())
	}
	return Typed[T]{objects: objects, info: info}
}

// Get reads one object.
func (t Typed[T]) Get(ctx context.Context, namespace, name string) (T, error) {
	return typed[T](t.objects.Get(ctx, t.info.GroupVersionResource, namespace, name, metav1.GetOptions{}))
}

// List reads the objects of a namespace, of all when it is empty, and the resource version that they were read at.
func (t Typed[T]) List(ctx context.Context, namespace string, opts metav1.ListOptions) ([]T, string, error) {
	list, err := t.objects.List(ctx, t.info.GroupVersionResource, namespace, opts)
	if err != nil {
		return nil, "", err
	}
	version, err := meta.NewAccessor().ResourceVersion(list)
	if err != nil {
		return nil, "", err
	}
	var items []T
	err = meta.EachListItem(list, func(obj runtime.Object) error {
		item, err := typed[T](obj, nil)
		items = append(items, item)
		return err
	})
	return items, version, err
}

// Watch streams the changes of a namespace, of all when it is empty.
func (t Typed[T]) Watch(ctx context.Context, namespace string, opts metav1.ListOptions) (watch.Interface, error) {
	return t.objects.Watch(ctx, t.info.GroupVersionResource, namespace, opts)
}

// Create stores a new object.
func (t Typed[T]) Create(ctx context.Context, obj T) (T, error) {
	return typed[T](t.objects.Create(ctx, t.info.GroupVersionResource, obj.GetNamespace(), "", "", obj, metav1.CreateOptions{}))
}

// Update replaces an object; it conflicts when the object changed since it was read.
func (t Typed[T]) Update(ctx context.Context, obj T) (T, error) {
	return typed[T](t.objects.Update(ctx, t.info.GroupVersionResource, obj.GetNamespace(), obj.GetName(), "", obj, metav1.UpdateOptions{}))
}

// UpdateStatus replaces an object's status and nothing else.
func (t Typed[T]) UpdateStatus(ctx context.Context, obj T) (T, error) {
	return typed[T](t.objects.Update(ctx, t.info.GroupVersionResource, obj.GetNamespace(), obj.GetName(), "status", obj, metav1.UpdateOptions{}))
}

// Modify reads an object, lets change edit a copy of it, and stores that; when somebody else stored in
// between, all of it is done again. An error of change ends it.
func (t Typed[T]) Modify(ctx context.Context, namespace, name string, change func(T) error) (T, error) {
	return t.modify(ctx, namespace, name, change, t.Update)
}

// ModifyStatus is Modify for the object's status and nothing else.
func (t Typed[T]) ModifyStatus(ctx context.Context, namespace, name string, change func(T) error) (T, error) {
	return t.modify(ctx, namespace, name, change, t.UpdateStatus)
}

// modifyAttempts is how many conflicts in a row Modify gets over: each means that another writer got ahead.
const modifyAttempts = 10

func (t Typed[T]) modify(ctx context.Context, namespace, name string, change func(T) error, store func(context.Context, T) (T, error)) (T, error) {
	for attempt := 1; ; attempt++ {
		current, err := t.Get(ctx, namespace, name)
		if err != nil {
			return current, err
		}
		edited := current.DeepCopyObject().(T)
		if err := change(edited); err != nil {
			return current, err
		}
		stored, err := store(ctx, edited)
		if !apierrors.IsConflict(err) || attempt == modifyAttempts {
			return stored, err
		}
	}
}

// Patch changes an object, or its status with subresource "status".
func (t Typed[T]) Patch(ctx context.Context, namespace, name, subresource string, pt types.PatchType, patch []byte) (T, error) {
	return typed[T](t.objects.Patch(ctx, t.info.GroupVersionResource, namespace, name, subresource, pt, patch, metav1.PatchOptions{}))
}

// Delete removes an object.
func (t Typed[T]) Delete(ctx context.Context, namespace, name string, opts metav1.DeleteOptions) error {
	_, err := t.objects.Delete(ctx, t.info.GroupVersionResource, namespace, name, opts)
	return err
}

// Bind places a pod on a node. The binding's UID and resource version, when set, must be the pod's.
func Bind(ctx context.Context, objects Objects, binding *corev1.Binding) error {
	_, err := objects.Create(ctx, corev1.SchemeGroupVersion.WithResource("pods"), binding.Namespace, binding.Name, "binding", binding, metav1.CreateOptions{})
	return err
}

func typed[T Object](obj runtime.Object, err error) (T, error) {
	var zero T
	if err != nil {
		return zero, err
	}
	t, ok := obj.(T)
	if !ok {
		return zero, fmt.Errorf("expected a %T, got a %T", zero, obj)
	}
	return t, nil
}
