// Package namespace empties the namespaces that are being deleted, and lets them go when they are empty.
package namespace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/api/resource"
	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/controller/cached"
	"github.com/ctlplane/ctlplane/controller/loop"
)

// lookAgain is when a namespace is looked at again whose content takes its time to go. The end of its
// pods, which mostly take the longest, is noticed at once.
const lookAgain = 2 * time.Second

// Controller is the namespace controller.
type Controller struct {
	objects    client.Objects
	loop       *loop.Loop[loop.Key]
	namespaces *cached.Kind[*corev1.Namespace]
}

// New makes the controller over informers that aren't running yet.
func New(informers *client.Informers, objects client.Objects, options loop.Options) *Controller {
	c := &Controller{objects: objects, namespaces: cached.New[*corev1.Namespace](informers, objects)}
	c.loop = loop.New("namespace", informers, options, c.reconcile)
	loop.WatchSelf[*corev1.Namespace](c.loop)
	loop.Watch(c.loop, func(pod *corev1.Pod) []loop.Key {
		if namespace, ok := c.namespaces.Get("", pod.Namespace); !ok || namespace.DeletionTimestamp == nil {
			return nil
		}
		return []loop.Key{{Name: pod.Namespace}}
	})
	return c
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	namespace, ok := c.namespaces.Get("", key.Name)
	if !ok || namespace.DeletionTimestamp == nil || !slices.Contains(namespace.Spec.Finalizers, corev1.FinalizerKubernetes) {
		return 0, nil
	}
	// A namespace of this name may have taken the place of the one that the cache shows; its content isn't ours to delete.
	live, err := c.namespaces.Live(ctx, "", key.Name)
	switch {
	case apierrors.IsNotFound(err):
		return 0, nil
	case err != nil:
		return 0, err
	case live.UID != namespace.UID || live.DeletionTimestamp == nil:
		return 0, nil
	}
	left, err := c.empty(ctx, key.Name)
	if err == nil && left.none() {
		return 0, c.finalize(ctx, namespace)
	}
	if statusErr := c.report(ctx, namespace, left, err); statusErr != nil {
		err = errors.Join(err, statusErr)
	}
	return lookAgain, err
}

// empty deletes all that is in a namespace and returns what is there yet. Both go by what the store holds, for
// what a cache doesn't show must not be left behind.
func (c *Controller) empty(ctx context.Context, namespace string) (leftovers, error) {
	left := newLeftovers()
	var errs []error
	for _, info := range resource.All() {
		if !info.Namespaced {
			continue
		}
		if err := c.emptyKind(ctx, info, namespace); err != nil {
			errs = append(errs, fmt.Errorf("deleting the %s of namespace %s: %w", info.Resource, namespace, err))
		}
		objs, err := c.list(ctx, info, namespace)
		if err != nil {
			errs = append(errs, err)
		}
		for _, obj := range objs {
			left.add(info, obj)
		}
	}
	return left, errors.Join(errs...)
}

func (c *Controller) emptyKind(ctx context.Context, info *resource.Info, namespace string) error {
	objs, err := c.list(ctx, info, namespace)
	if err != nil {
		return err
	}
	for _, obj := range objs {
		if obj.GetDeletionTimestamp() != nil {
			continue
		}
		_, err := c.objects.Delete(ctx, info.GroupVersionResource, namespace, obj.GetName(), metav1.DeleteOptions{
			PropagationPolicy: ptr.To(metav1.DeletePropagationBackground),
			Preconditions:     &metav1.Preconditions{UID: ptr.To[types.UID](obj.GetUID())},
		})
		if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return err
		}
	}
	return nil
}

// finalize takes our hold off an empty namespace.
func (c *Controller) finalize(ctx context.Context, namespace *corev1.Namespace) error {
	changed := namespace.DeepCopy()
	changed.Spec.Finalizers = slices.DeleteFunc(changed.Spec.Finalizers, func(f corev1.FinalizerName) bool {
		return f == corev1.FinalizerKubernetes
	})
	_, err := c.objects.Update(ctx, corev1.SchemeGroupVersion.WithResource("namespaces"), "", namespace.Name, "finalize", changed, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
