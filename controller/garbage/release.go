package garbage

import (
	"context"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/api/resource"
	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/controller/ownership"
)

// held tells whether an object that is being deleted waits for this controller.
func held(obj client.Object) bool {
	return obj.GetDeletionTimestamp() != nil && (slices.Contains(obj.GetFinalizers(), metav1.FinalizerDeleteDependents) ||
		slices.Contains(obj.GetFinalizers(), metav1.FinalizerOrphanDependents))
}

// release lets an object go that is being deleted, once its dependents are free or gone.
func (c *Controller) release(ctx context.Context, key item, obj client.Object) error {
	switch {
	case slices.Contains(obj.GetFinalizers(), metav1.FinalizerOrphanDependents):
		if err := c.orphan(ctx, key.info, obj); err != nil {
			return err
		}
		return c.dropFinalizer(ctx, key, obj, metav1.FinalizerOrphanDependents)
	case slices.Contains(obj.GetFinalizers(), metav1.FinalizerDeleteDependents):
		blocked := false
		for _, dependent := range c.dependents(key.info, obj) {
			c.loop.Add(dependent.item) // which is now without a solid owner
			blocked = blocked || c.blocks(dependent.obj, key.info, obj)
		}
		if blocked {
			return nil // the last one's deletion brings us back
		}
		return c.dropFinalizer(ctx, key, obj, metav1.FinalizerDeleteDependents)
	}
	return nil
}

// blocks tells whether an object's owner has to wait until the object is gone.
func (c *Controller) blocks(obj client.Object, info *resource.Info, owner client.Object) bool {
	return slices.ContainsFunc(c.refsTo(obj, info, owner), func(ref metav1.OwnerReference) bool {
		return ptr.Deref(ref.BlockOwnerDeletion, false)
	})
}

// orphan takes all references to an owner away. Dependents are listed from the store: one that the caches didn't show
// yet would be taken for garbage once its owner is gone, though it was to stay.
func (c *Controller) orphan(ctx context.Context, info *resource.Info, owner client.Object) error {
	for kind := range c.kinds {
		if !kind.Namespaced && owner.GetNamespace() != "" {
			continue
		}
		list, err := c.objects.List(ctx, kind.GroupVersionResource, owner.GetNamespace(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		err = meta.EachListItem(list, func(listed runtime.Object) error {
			obj, ok := listed.(client.Object)
			if !ok || len(c.refsTo(obj, info, owner)) == 0 {
				return nil
			}
			changed := obj.DeepCopyObject().(client.Object)
			changed.SetOwnerReferences(ownership.Without(obj.GetOwnerReferences(), owner.GetUID()))
			return c.update(ctx, itemOf(kind, obj), changed)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *Controller) dropFinalizer(ctx context.Context, key item, obj client.Object, finalizer string) error {
	changed := obj.DeepCopyObject().(client.Object)
	changed.SetFinalizers(slices.DeleteFunc(changed.GetFinalizers(), func(f string) bool { return f == finalizer }))
	return c.update(ctx, key, changed)
}
