// Package endpointslice lists, for each service with a selector, the pods that serve it.
package endpointslice

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/controller/cached"
	"github.com/ctlplane/ctlplane/controller/loop"
)

// manager is who may write our slices; those of other managers are left alone.
const manager = "endpointslice-controller.k8s.io"

// byService is the index of our slices by the key of their service.
const byService = "service"

var kind = corev1.SchemeGroupVersion.WithKind("Service")

// Controller is the endpoint slice controller.
type Controller struct {
	loop     *loop.Loop[loop.Key]
	services *cached.Kind[*corev1.Service]
	pods     *cached.Kind[*corev1.Pod]
	slices   *cached.Kind[*discoveryv1.EndpointSlice]
}

// New makes the controller over informers that aren't running yet.
func New(informers *client.Informers, objects client.Objects, options loop.Options) *Controller {
	cached.AddIndex(informers, byService, func(slice *discoveryv1.EndpointSlice) []string {
		if key, ok := serviceOf(slice); ok {
			return []string{key.String()}
		}
		return nil
	})
	c := &Controller{
		services: cached.New[*corev1.Service](informers, objects),
		pods:     cached.New[*corev1.Pod](informers, objects),
		slices:   cached.New[*discoveryv1.EndpointSlice](informers, objects),
	}
	c.loop = loop.New("endpointslice", informers, options, c.reconcile)
	loop.WatchSelf[*corev1.Service](c.loop)
	loop.Watch(c.loop, c.servicesOf)
	loop.Watch(c.loop, func(slice *discoveryv1.EndpointSlice) []loop.Key {
		if key, ok := serviceOf(slice); ok {
			return []loop.Key{key}
		}
		return nil
	})
	return c
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

// serviceOf is the service that one of our slices belongs to.
func serviceOf(slice *discoveryv1.EndpointSlice) (loop.Key, bool) {
	name := slice.Labels[discoveryv1.LabelServiceName]
	if name == "" || slice.Labels[discoveryv1.LabelManagedBy] != manager {
		return loop.Key{}, false
	}
	return loop.Key{Namespace: slice.Namespace, Name: name}, true
}

// servicesOf is the services that select a pod.
func (c *Controller) servicesOf(pod *corev1.Pod) []loop.Key {
	var keys []loop.Key
	for _, service := range c.services.By(cached.ByNamespace, pod.Namespace) {
		if selects(service) && labels.SelectorFromValidatedSet(service.Spec.Selector).Matches(labels.Set(pod.Labels)) {
			keys = append(keys, loop.KeyOf(service))
		}
	}
	return keys
}

// selects tells whether a service's endpoints are ours to find. Without a selector they are the user's.
func selects(service *corev1.Service) bool {
	return len(service.Spec.Selector) > 0 && service.Spec.Type != corev1.ServiceTypeExternalName
}

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	service, ok := c.services.Get(key.Namespace, key.Name)
	if !ok || service.DeletionTimestamp != nil {
		return 0, nil // the slices of a service that has gone are garbage
	}
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		// A mere name has no endpoints. kube-controller-manager leaves those of the service's former type, of pods that
		// may have gone since; nobody who reads slices expects them.
		return 0, c.write(ctx, key, changes{remove: c.slices.By(byService, key.String())})
	}
	if !selects(service) {
		return 0, nil // whoever takes the selector away takes the endpoints over
	}
	selector := labels.SelectorFromValidatedSet(service.Spec.Selector)
	var pods []*corev1.Pod
	for _, pod := range c.pods.By(cached.ByNamespace, key.Namespace) {
		if selector.Matches(labels.Set(pod.Labels)) {
			pods = append(pods, pod)
		}
	}
	changes := pack(service, c.slices.By(byService, key.String()), groupsOf(service, pods))
	return 0, c.write(ctx, key, changes)
}

// write creates and updates before it deletes, so that an endpoint that moves between slices never is in none.
func (c *Controller) write(ctx context.Context, key loop.Key, changes changes) error {
	var errs []error
	for _, slice := range changes.create {
		_, err := c.slices.Create(ctx, slice)
		if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) {
			return nil
		}
		errs = append(errs, err)
	}
	for _, slice := range changes.update {
		_, err := c.slices.Update(ctx, slice)
		errs = append(errs, err)
	}
	if err := firstOf(errs); err != nil {
		return fmt.Errorf("writing the endpoint slices of service %s: %w", key, err)
	}
	for _, slice := range changes.remove {
		if err := c.slices.Delete(ctx, slice, metav1.DeleteOptions{}); err != nil && !apierrors.IsNotFound(err) {
			errs = append(errs, fmt.Errorf("deleting endpoint slice %s/%s: %w", slice.Namespace, slice.Name, err))
		}
	}
	return errors.Join(errs...)
}

func firstOf(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
