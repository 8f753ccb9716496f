package replicaset

import (
	"context"
	"errors"
	"fmt"
	"sync"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ctlplane/ctlplane/controller/cached"
	"github.com/ctlplane/ctlplane/controller/ownership"
	"github.com/ctlplane/ctlplane/controller/podstate"
	"github.com/ctlplane/ctlplane/supervise"
)

// burst is how many pods of one set are created or deleted in one go; the set comes back for the rest.
const burst = 500

// scale creates the pods that a set lacks, or deletes those that it has too many.
func (c *Controller) scale(ctx context.Context, set *appsv1.ReplicaSet, owned []*corev1.Pod, missing int) error {
	if missing > 0 {
		return c.create(ctx, set, min(missing, burst))
	}
	chosen := victims(owned, min(-missing, burst), c.together(set), minReady(set), c.loop.Options().Clock.Now())
	return c.delete(ctx, set, chosen)
}

// create creates n pods: one, then two, then four at once, and so on until one fails. A template that is
// refused, by a quota say, is so refused once and not n times.
func (c *Controller) create(ctx context.Context, set *appsv1.ReplicaSet, n int) error {
	for batch := 1; n > 0; batch *= 2 {
		batch = min(batch, n)
		n -= batch
		errs := atOnce(batch, func(int) error { return c.createPod(ctx, set) })
		if err := errors.Join(errs...); err != nil {
			if allTerminating(errs) {
				return nil // the namespace is being deleted, and so is the set: nothing to be done here
			}
			return firstOf(errs)
		}
	}
	return nil
}

func (c *Controller) createPod(ctx context.Context, set *appsv1.ReplicaSet) error {
	pod, err := c.pods.Create(ctx, podOf(set))
	if err != nil {
		if !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			c.loop.Eventf(set, corev1.EventTypeWarning, "FailedCreate", "Error creating: %v", err)
		}
		return fmt.Errorf("creating a pod of replicaset %s/%s: %w", set.Namespace, set.Name, err)
	}
	c.loop.Eventf(set, corev1.EventTypeNormal, "SuccessfulCreate", "Created pod: %s", pod.Name)
	return nil
}

// podOf makes a pod from a set's template.
func podOf(set *appsv1.ReplicaSet) *corev1.Pod {
	template := set.Spec.Template.DeepCopy()
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       set.Namespace,
			GenerateName:    set.Name + "-",
			Labels:          template.Labels,
			Annotations:     template.Annotations,
			Finalizers:      template.Finalizers,
			OwnerReferences: []metav1.OwnerReference{ownership.Reference(set, kind)},
		},
		Spec: template.Spec,
	}
}

// delete deletes the chosen pods, each only if it still is as it was when it was chosen: a pod that has
// become ready meanwhile may be worth more than another.
func (c *Controller) delete(ctx context.Context, set *appsv1.ReplicaSet, chosen []*corev1.Pod) error {
	return firstOf(atOnce(len(chosen), func(i int) error {
		pod := chosen[i]
		err := c.pods.Delete(ctx, pod, metav1.DeleteOptions{})
		switch {
		case err == nil:
			c.loop.Eventf(set, corev1.EventTypeNormal, "SuccessfulDelete", "Deleted pod: %s", pod.Name)
			return nil
		case apierrors.IsNotFound(err):
			return nil
		case !apierrors.IsConflict(err):
			c.loop.Eventf(set, corev1.EventTypeWarning, "FailedDelete", "Error deleting: %v", err)
		}
		return fmt.Errorf("deleting pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}))
}

// together counts, for each node, the active pods of this set and of its siblings under the same
// deployment: of two pods on one node, one can be spared.
func (c *Controller) together(set *appsv1.ReplicaSet) map[string]int {
	siblings := []*appsv1.ReplicaSet{set}
	if metav1.GetControllerOfNoCopy(set) != nil {
		siblings = c.sets.By(cached.ByController, cached.ControllerOf(set))
	}
	count := map[string]int{}
	for _, sibling := range siblings {
		for _, pod := range c.stillOwned(sibling) {
			if podstate.Active(pod) && pod.Spec.NodeName != "" {
				count[pod.Spec.NodeName]++
			}
		}
	}
	return count
}

// atOnce calls do for 0 to n-1 at the same time and returns their errors.
func atOnce(n int, do func(i int) error) []error {
	errs := make([]error, n)
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			errs[i] = supervise.Call("replicaset", nil, func() error { return do(i) })
		})
	}
	all.Wait()
	return errs
}

func firstOf(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func allTerminating(errs []error) bool {
	for _, err := range errs {
		if err != nil && !apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return false
		}
	}
	return true
}
