// Package replicaset keeps as many pods of a template running as a ReplicaSet asks for.
package replicaset

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
	"github.com/ctlplane/ctlplane/controller/podstate"
)

// settle is how long after its last write a ReplicaSet is looked at once more. A pod that we made and that was
// removed while the informer's watch was broken never comes by as an event.
const settle = 30 * time.Second

var kind = appsv1.SchemeGroupVersion.WithKind("ReplicaSet")

// Controller is the ReplicaSet controller.
type Controller struct {
	loop *loop.Loop[loop.Key]
	sets *cached.Kind[*appsv1.ReplicaSet]
	pods *cached.Kind[*corev1.Pod]
}

// New makes the controller over informers that aren't running yet.
func New(informers *client.Informers, objects client.Objects, options loop.Options) *Controller {
	cached.IndexByController[*corev1.Pod](informers)
	cached.IndexByController[*appsv1.ReplicaSet](informers)
	c := &Controller{
		sets: cached.New[*appsv1.ReplicaSet](informers, objects),
		pods: cached.New[*corev1.Pod](informers, objects),
	}
	c.loop = loop.New("replicaset", informers, options, c.reconcile)
	loop.WatchSelf[*appsv1.ReplicaSet](c.loop)
	loop.Watch(c.loop, c.concerned)
	return c
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

// concerned is the sets that a pod's change is of interest to: its controller, or those that may adopt it.
func (c *Controller) concerned(pod *corev1.Pod) []loop.Key {
	if metav1.GetControllerOfNoCopy(pod) != nil {
		namespace, name, ok := ownership.ControllerKey(pod, kind)
		if !ok {
			return nil
		}
		return []loop.Key{{Namespace: namespace, Name: name}}
	}
	var keys []loop.Key
	for _, set := range c.sets.By(cached.ByNamespace, pod.Namespace) {
		selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
		if err == nil && !selector.Empty() && selector.Matches(labels.Set(pod.Labels)) {
			keys = append(keys, loop.KeyOf(set))
		}
	}
	return keys
}

func (c *Controller) reconcile(ctx context.Context, key loop.Key) (time.Duration, error) {
	set, ok := c.sets.Get(key.Namespace, key.Name)
	if !ok {
		return 0, nil
	}
	owned, err := c.owned(ctx, set)
	if err != nil {
		return 0, err
	}
	var again time.Duration
	var scaleErr error
	wait := heldUp(owned, c.loop.Options().Clock.Now())
	switch missing := missing(set, owned); {
	case missing == 0 || set.DeletionTimestamp != nil:
	case missing > 0 && wait > 0:
		again = wait
	default:
		scaleErr = c.scale(ctx, set, owned, missing)
		// The pods as they are now: the caches show what we have just written.
		owned = c.stillOwned(set)
		again = settle
	}
	failure := scaleErr
	if apierrors.IsConflict(failure) {
		failure = nil // it is decided anew, which is no failure that a user need know of
	}
	status, wait := nextStatus(set, owned, failure, c.loop.Options().Clock.Now())
	if err := c.writeStatus(ctx, set, status); err != nil {
		return 0, err
	}
	if wait > 0 && (again == 0 || wait < again) {
		again = wait
	}
	return again, scaleErr
}

func (c *Controller) owned(ctx context.Context, set *appsv1.ReplicaSet) ([]*corev1.Pod, error) {
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil {
		return nil, fmt.Errorf("the selector of replicaset %s/%s is not valid: %w", set.Namespace, set.Name, err)
	}
	claim := ownership.Claim[*corev1.Pod]{
		Owner:    set,
		Kind:     kind,
		Selector: selector,
		Owned:    c.pods,
		Alive: func(ctx context.Context) (client.Object, error) {
			return c.sets.Live(ctx, set.Namespace, set.Name)
		},
	}
	return claim.Resolve(ctx)
}

func (c *Controller) stillOwned(set *appsv1.ReplicaSet) []*corev1.Pod {
	return c.pods.By(cached.ByController, cached.Controller(set))
}

// missing is how many pods a set lacks; negative for those that it has too many.
func missing(set *appsv1.ReplicaSet, owned []*corev1.Pod) int {
	missing := int(replicas(set))
	for _, pod := range owned {
		if podstate.Active(pod) {
			missing--
		}
	}
	return missing
}

// replicas is how many pods a set asks for; one when it doesn't say.
func replicas(set *appsv1.ReplicaSet) int32 {
	if set.Spec.Replicas == nil {
		return 1
	}
	return *set.Spec.Replicas
}

func (c *Controller) writeStatus(ctx context.Context, set *appsv1.ReplicaSet, status appsv1.ReplicaSetStatus) error {
	if sameStatus(set.Status, status) {
		return nil
	}
	changed := set.DeepCopy()
	changed.Status = status
	_, err := c.sets.UpdateStatus(ctx, changed)
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
