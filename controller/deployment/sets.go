package deployment

import (
	"context"
	"fmt"
	"maps"
	"slices"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/controller/ownership"
)

// ensureCurrent makes the current set if there is none, and keeps its revision the newest.
func (c *Controller) ensureCurrent(ctx context.Context, r *rollout) error {
	if r.current == nil {
		if err := c.createCurrent(ctx, r); err != nil {
			return err
		}
	}
	return c.keepRevisions(ctx, r)
}

// createCurrent makes the set of the deployment's template. Its name follows from the template, so that
// it can't be made twice.
func (c *Controller) createCurrent(ctx context.Context, r *rollout) error {
	for {
		set, err := r.newSet()
		if err != nil {
			return err
		}
		created, err := c.sets.Create(ctx, set)
		switch {
		case err == nil:
			r.current, r.created = created, true
			if n := *set.Spec.Replicas; n > 0 {
				c.scaled(r.d, set.Name, 0, n)
			}
			return nil
		case !apierrors.IsAlreadyExists(err):
			return fmt.Errorf("creating replicaset %s/%s: %w", set.Namespace, set.Name, err)
		}
		taken, err := c.sets.Live(ctx, set.Namespace, set.Name)
		if err != nil {
			return err
		}
		if metav1.IsControlledBy(taken, r.d) && sameTemplate(&taken.Spec.Template, &r.d.Spec.Template) {
			r.current = taken
			return nil
		}
		if err := c.countCollision(ctx, r); err != nil {
			return err
		}
	}
}

// countCollision makes the next hash of the same template another.
func (c *Controller) countCollision(ctx context.Context, r *rollout) error {
	changed := r.d.DeepCopy()
	changed.Status.CollisionCount = ptr.To(ptr.Deref(r.d.Status.CollisionCount, 0) + 1)
	updated, err := c.deployments.UpdateStatus(ctx, changed)
	if err != nil {
		return err
	}
	r.d = updated
	return nil
}

// newSet is the current set as it is to be created.
func (r *rollout) newSet() (*appsv1.ReplicaSet, error) {
	template := r.d.Spec.Template.DeepCopy()
	hash, err := templateHash(template, r.d.Status.CollisionCount)
	if err != nil {
		return nil, err
	}
	template.Labels = withHash(template.Labels, hash)
	selector := r.d.Spec.Selector.DeepCopy()
	selector.MatchLabels = withHash(selector.MatchLabels, hash)
	set := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       r.d.Namespace,
			Name:            r.d.Name + "-" + hash,
			Labels:          maps.Clone(template.Labels),
			OwnerReferences: []metav1.OwnerReference{ownership.Reference(r.d, kind)},
		},
		Spec: appsv1.ReplicaSetSpec{
			Replicas:        ptr.To(r.initial()),
			MinReadySeconds: r.d.Spec.MinReadySeconds,
			Selector:        selector,
			Template:        *template,
		},
	}
	r.annotate(set)
	r.annotateSize(set)
	return set, nil
}

// initial is how many pods the current set starts with.
func (r *rollout) initial() int32 {
	if r.d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return r.desired()
	}
	surge, unavailable := r.bounds()
	return rolling{desired: r.desired(), surge: surge, unavailable: unavailable}.up(size{}, sizesOf(r.old))
}

func withHash(labels map[string]string, hash string) map[string]string {
	labels = maps.Clone(labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[appsv1.DefaultDeploymentUniqueLabelKey] = hash
	return labels
}

// resize gives sets the replicas of a plan, those that grow before those that shrink. It also brings the
// annotations up to date that tell at which scale of the deployment each set was sized.
func (c *Controller) resize(ctx context.Context, r *rollout, next plan) error {
	all := r.all()
	slices.SortStableFunc(all, func(a, b *appsv1.ReplicaSet) int { return int(next.change(b)) - int(next.change(a)) })
	for _, set := range all {
		updated, err := c.resizeSet(ctx, r, set, next)
		if err != nil {
			return err
		}
		r.replace(updated)
	}
	return nil
}

// change is by how much a plan changes a set.
func (p plan) change(set *appsv1.ReplicaSet) int32 {
	replicas, ok := p[set.Name]
	if !ok {
		return 0
	}
	return replicas - ptr.Deref(set.Spec.Replicas, 1)
}

func (c *Controller) resizeSet(ctx context.Context, r *rollout, set *appsv1.ReplicaSet, next plan) (*appsv1.ReplicaSet, error) {
	before := ptr.Deref(set.Spec.Replicas, 1)
	after := before + next.change(set)
	changed := set.DeepCopy()
	changed.Spec.Replicas = ptr.To(after)
	resized := before != after
	if before > 0 || after > 0 {
		resized = r.annotateSize(changed) || resized
	}
	if !resized {
		return set, nil
	}
	updated, err := c.sets.Update(ctx, changed)
	if err != nil {
		return nil, fmt.Errorf("scaling replicaset %s/%s: %w", set.Namespace, set.Name, err)
	}
	if before != after {
		c.scaled(r.d, set.Name, before, after)
	}
	return updated, nil
}

func (c *Controller) scaled(d *appsv1.Deployment, set string, before, after int32) {
	direction := "up"
	if after < before {
		direction = "down"
	}
	c.loop.Eventf(d, corev1.EventTypeNormal, "ScalingReplicaSet",
		"Scaled %s replica set %s from %d to %d", direction, set, before, after)
}
