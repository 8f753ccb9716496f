// Package ownership decides which objects a controller's object owns: by controller reference, and by
// selector for those that nobody owns yet.
package ownership

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/controller/cached"
)

// Claim is one owner's view on the objects of kind T in its namespace.
type Claim[T client.Object] struct {
	Owner client.Object
	// Kind is the owner's.
	Kind     schema.GroupVersionKind
	Selector labels.Selector
	Owned    *cached.Kind[T]
	// Alive reads the owner from the store, past all caches. It is asked once, before the first adoption:
	// an owner that is gone or being deleted must not take in what its successor would.
	Alive func(ctx context.Context) (client.Object, error)
}

// Resolve lists what the owner owns. On the way it releases what it owns and doesn't select, and adopts
// what it selects and nobody owns. Owned needs the indices by namespace and by controller.
func (c *Claim[T]) Resolve(ctx context.Context) ([]T, error) {
	var owned []T
	for _, obj := range c.Owned.By(cached.ByController, cached.Controller(c.Owner)) {
		if c.selects(obj) {
			owned = append(owned, obj)
			continue
		}
		if err := c.release(ctx, obj); err != nil {
			return nil, err
		}
	}
	checked := false
	for _, obj := range c.Owned.By(cached.ByController, cached.Orphan(c.Owner.GetNamespace())) {
		if !c.selects(obj) || !adoptable(c.Owner, obj) {
			continue
		}
		if !checked {
			if err := c.mayAdopt(ctx); err != nil {
				return nil, err
			}
			checked = true
		}
		adopted, err := c.adopt(ctx, obj)
		if apierrors.IsNotFound(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		owned = append(owned, adopted)
	}
	return owned, nil
}

func (c *Claim[T]) selects(obj T) bool { return c.Selector.Matches(labels.Set(obj.GetLabels())) }

func (c *Claim[T]) mayAdopt(ctx context.Context) error {
	live, err := c.Alive(ctx)
	if err != nil {
		return err
	}
	if live.GetUID() != c.Owner.GetUID() || live.GetDeletionTimestamp() != nil {
		return fmt.Errorf("%s %s/%s has been deleted and must not adopt any more", c.Kind.Kind, c.Owner.GetNamespace(), c.Owner.GetName())
	}
	return nil
}

func (c *Claim[T]) adopt(ctx context.Context, obj T) (T, error) {
	changed := obj.DeepCopyObject().(T)
	changed.SetOwnerReferences(append(changed.GetOwnerReferences(), Reference(c.Owner, c.Kind)))
	return c.Owned.Update(ctx, changed)
}

func (c *Claim[T]) release(ctx context.Context, obj T) error {
	if c.Owner.GetDeletionTimestamp() != nil {
		return nil
	}
	changed := obj.DeepCopyObject().(T)
	changed.SetOwnerReferences(Without(obj.GetOwnerReferences(), c.Owner.GetUID()))
	_, err := c.Owned.Update(ctx, changed)
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// adoptable tells whether an orphan is worth adopting: a dead owner adopts nothing, and nobody adopts
// what is going away or has ended.
func adoptable(owner, obj client.Object) bool {
	if owner.GetDeletionTimestamp() != nil || obj.GetDeletionTimestamp() != nil {
		return false
	}
	pod, ok := obj.(*corev1.Pod)
	return !ok || pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed
}

// Reference is a controller reference to an owner, which blocks the owner's foreground deletion.
func Reference(owner client.Object, kind schema.GroupVersionKind) metav1.OwnerReference {
	return *metav1.NewControllerRef(owner, kind)
}

// Without is the references that are not to the owner with the given UID.
func Without(refs []metav1.OwnerReference, owner types.UID) []metav1.OwnerReference {
	var kept []metav1.OwnerReference
	for _, ref := range refs {
		if ref.UID != owner {
			kept = append(kept, ref)
		}
	}
	return kept
}

// ControllerKey is the key of an object's controller if that is of the given kind.
func ControllerKey(obj client.Object, kind schema.GroupVersionKind) (namespace, name string, ok bool) {
	ref := metav1.GetControllerOfNoCopy(obj)
	if ref == nil || ref.Kind != kind.Kind {
		return "", "", false
	}
	if gv, err := schema.ParseGroupVersion(ref.APIVersion); err != nil || gv.Group != kind.Group {
		return "", "", false
	}
	return obj.GetNamespace(), ref.Name, true
}
