// Package deployment rolls deployments out: it moves pods from the replica sets of old templates to that of the
// current one, within the bounds that the deployment sets.
package deployment

import (
	"context"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/controller/cached"
	"github.com/ctlplane/ctlplane/controller/loop"
	"github.com/ctlplane/ctlplane/controller/ownership"
)

var (
	kind    = appsv1.SchemeGroupVersion.WithKind("Deployment")
	setKind = appsv1.SchemeGroupVersion.WithKind("ReplicaSet")
)

// Controller is the deployment controller.
type Controller struct {
	loop        *loop.Loop[loop.Key]
	deployments *cached.Kind[*appsv1.Deployment]
	sets        *cached.Kind[*appsv1.ReplicaSet]
	pods        *cached.Kind[*corev1.Pod]
}

// New makes the controller over informers that aren't running yet.
func New(informers *client.Informers, objects client.Objects, options loop.Options) *Controller {
	cached.IndexByController[*corev1.Pod](informers)
	cached.IndexByController[*appsv1.ReplicaSet](informers)
	c := &Controller{
		deployments: cached.New[*appsv1.Deployment](informers, objects),
		sets:        cached.New[*appsv1.ReplicaSet](informers, objects),
		pods:        cached.New[*corev1.Pod](informers, objects),
	}
	c.loop = loop.New("deployment", informers, options, c.reconcile)
	loop.WatchSelf[*appsv1.Deployment](c.loop)
	loop.Watch(c.loop, c.concernedBySet)
	loop.Watch(c.loop, c.concernedByPod)
	return c
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

// concernedBySet is the deployments that a set's change is of interest to: its controller, or those
// that may adopt it.
func (c *Controller) concernedBySet(set *appsv1.ReplicaSet) []loop.Key {
	if metav1.GetControllerOfNoCopy(set) != nil {
		namespace, name, ok := ownership.ControllerKey(set, kind)
		if !ok {
			return nil
		}
		return []loop.Key{{Namespace: namespace, Name: name}}
	}
	var keys []loop.Key
	for _, d := range c.deployments.By(cached.ByNamespace, set.Namespace) {
		selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
		if err == nil && !selector.Empty() && selector.Matches(labels.Set(set.Labels)) {
			keys = append(keys, loop.KeyOf(d))
		}
	}
	return keys
}

// concernedByPod is the deployment that waits until the last old pod has gone before it starts a new one.
func (c *Controller) concernedByPod(pod *corev1.Pod) []loop.Key {
	namespace, name, ok := ownership.ControllerKey(pod, setKind)
	if !ok {
		return nil
	}
	set, ok := c.sets.Get(namespace, name)
	if !ok {
		return nil
	}
	namespace, name, ok = ownership.ControllerKey(set, kind)
	if !ok {
		return nil
	}
	d, ok := c.deployments.Get(namespace, name)
	if !ok || d.Spec.Strategy.Type != appsv1.RecreateDeploymentStrategyType {
		return nil
	}
	return []loop.Key{{Namespace: namespace, Name: name}}
}

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	d, ok := c.deployments.Get(key.Namespace, key.Name)
	if !ok {
		return 0, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(d.Spec.Selector)
	if err != nil {
		return 0, fmt.Errorf("the selector of deployment %s is not valid: %w", key, err)
	}
	if selector.Empty() {
		c.loop.Eventf(d, corev1.EventTypeWarning, "SelectingAll",
			"This deployment is selecting all pods. A non-empty selector is required.")
		return 0, nil
	}
	sets, err := c.owned(ctx, d, selector)
	if err != nil {
		return 0, err
	}
	r := newRollout(d, sets)
	if d.DeletionTimestamp != nil {
		return c.writeStatus(ctx, r, nil)
	}
	err = c.act(ctx, r)
	switch {
	case apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause):
		return 0, nil // the deployment is going with its namespace
	case apierrors.IsConflict(err):
		return 0, err
	}
	again, statusErr := c.writeStatus(ctx, r, err)
	if err == nil {
		err = statusErr
	}
	return again, err
}

// act brings the sets one step on.
func (c *Controller) act(ctx context.Context, r *rollout) error {
	switch {
	case r.d.Spec.Paused || r.rescaled():
		if err := c.keepRevisions(ctx, r); err != nil {
			return err
		}
		next := r.proportional()
		if r.raisesBusy(next) {
			return nil // the set's status, when it has heard, brings us back
		}
		if err := c.resize(ctx, r, next); err != nil {
			return err
		}
	case r.d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType:
		if err := c.recreate(ctx, r); err != nil {
			return err
		}
	default:
		if err := c.roll(ctx, r); err != nil {
			return err
		}
	}
	if r.d.Spec.Paused || r.complete() {
		return c.forget(ctx, r)
	}
	return nil
}

// roll takes a step of a rolling update.
func (c *Controller) roll(ctx context.Context, r *rollout) error {
	if err := c.ensureCurrent(ctx, r); err != nil {
		return err
	}
	return c.resize(ctx, r, r.step())
}

func (c *Controller) owned(ctx context.Context, d *appsv1.Deployment, selector labels.Selector) ([]*appsv1.ReplicaSet, error) {
	claim := ownership.Claim[*appsv1.ReplicaSet]{
		Owner:    d,
		Kind:     kind,
		Selector: selector,
		Owned:    c.sets,
		Alive: func(ctx context.Context) (client.Object, error) {
			return c.deployments.Live(ctx, d.Namespace, d.Name)
		},
	}
	return claim.Resolve(ctx)
}
