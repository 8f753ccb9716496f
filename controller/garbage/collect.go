package garbage

import (
	"context"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/client"
)

// state is what an owner is to one who depends on it.
type state int

const (
	// solid owners exist.
	solid state = iota
	// waiting owners are being deleted and wait until their dependents are gone.
	waiting
	// dangling owners don't exist.
	dangling
)

// collect deletes an object without owners, and takes from one that still has some the references to those
// that are no more.
func (c *Controller) collect(ctx context.Context, key item, obj client.Object) error {
	byState := map[state][]metav1.OwnerReference{}
	for _, ref := range obj.GetOwnerReferences() {
		s, err := c.stateOf(ctx, obj, ref)
		if err != nil {
			return err
		}
		byState[s] = append(byState[s], ref)
	}
	switch {
	case len(byState[waiting])+len(byState[dangling]) == 0:
		return nil
	case len(byState[solid]) > 0:
		changed := obj.DeepCopyObject().(client.Object)
		changed.SetOwnerReferences(byState[solid])
		return c.update(ctx, key, changed)
	}
	policy := ownPolicy(obj)
	if len(byState[waiting]) > 0 && len(c.dependents(key.info, obj)) > 0 {
		// Who waits for this one waits for what this one owns.
		policy = metav1.DeletePropagationForeground
	}
	return c.delete(ctx, key, obj, policy)
}

// stateOf finds out about one owner of an object.
func (c *Controller) stateOf(ctx context.Context, obj client.Object, ref metav1.OwnerReference) (state, error) {
	info, ok := c.kindOf(ref.APIVersion, ref.Kind)
	if !ok {
		return solid, nil
	}
	if info.Namespaced && obj.GetNamespace() == "" {
		c.tellMisplaced(obj, ref)
		return solid, nil
	}
	id := identityIn(info, obj, ref)
	if wrongly, ok := c.absent.Get(id); ok {
		if wrongly == misplaced(true) {
			c.tellMisplaced(obj, ref)
		}
		return dangling, nil
	}
	owner, ok := c.cached(item{info: info, namespace: id.namespace, name: id.name})
	if !ok || owner.GetUID() != ref.UID {
		live, err := c.objects.Get(ctx, info.GroupVersionResource, id.namespace, id.name, metav1.GetOptions{})
		if err != nil && !apierrors.IsNotFound(err) {
			return solid, fmt.Errorf("looking for the owner %s %s of %s: %w", ref.Kind, ref.Name, obj.GetName(), err)
		}
		owner, ok = live.(client.Object)
		if err != nil || !ok || owner.GetUID() != ref.UID {
			wrongly := c.elsewhere(info, id)
			if wrongly {
				c.tellMisplaced(obj, ref)
			}
			c.absent.Add(id, wrongly)
			return dangling, nil
		}
	}
	if owner.GetDeletionTimestamp() != nil && slices.Contains(owner.GetFinalizers(), metav1.FinalizerDeleteDependents) {
		return waiting, nil
	}
	return solid, nil
}

// ownPolicy is how an object wants its own dependents treated.
func ownPolicy(obj client.Object) metav1.DeletionPropagation {
	switch {
	case slices.Contains(obj.GetFinalizers(), metav1.FinalizerOrphanDependents):
		return metav1.DeletePropagationOrphan
	case slices.Contains(obj.GetFinalizers(), metav1.FinalizerDeleteDependents):
		return metav1.DeletePropagationForeground
	}
	return metav1.DeletePropagationBackground
}

// delete deletes an object if it is as it was when its owners were looked up: it may have got another since.
func (c *Controller) delete(ctx context.Context, key item, obj client.Object, policy metav1.DeletionPropagation) error {
	_, err := c.objects.Delete(ctx, key.info.GroupVersionResource, key.namespace, key.name, metav1.DeleteOptions{
		PropagationPolicy: ptr.To(policy),
		Preconditions:     &metav1.Preconditions{UID: ptr.To[types.UID](obj.GetUID()), ResourceVersion: ptr.To(obj.GetResourceVersion())},
	})
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err == nil {
		c.loop.Options().Logger.Debug("deleted an object without owners", "object", key.String())
	}
	return err
}

func (c *Controller) update(ctx context.Context, key item, obj client.Object) error {
	_, err := c.objects.Update(ctx, key.info.GroupVersionResource, key.namespace, key.name, "", obj, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
