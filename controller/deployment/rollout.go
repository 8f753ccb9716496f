package deployment

import (
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
)

// rollout is a deployment and its sets, as one reconciliation sees them and goes on to change them.
type rollout struct {
	d *appsv1.Deployment
	// current is the set of the deployment's template; nil before it is made.
	current *appsv1.ReplicaSet
	// old is the other sets, the oldest first.
	old []*appsv1.ReplicaSet
	// created tells that current was made by this reconciliation.
	created bool
}

func newRollout(d *appsv1.Deployment, sets []*appsv1.ReplicaSet) *rollout {
	sets = slices.Clone(sets)
	slices.SortFunc(sets, func(a, b *appsv1.ReplicaSet) int {
		if order := a.CreationTimestamp.Compare(b.CreationTimestamp.Time); order != 0 {
			return order
		}
		return strings.Compare(a.Name, b.Name)
	})
	r := &rollout{d: d}
	for _, set := range sets {
		// Of several equal ones the oldest is the current: so it has been for everyone who looked.
		if r.current == nil && sameTemplate(&set.Spec.Template, &d.Spec.Template) {
			r.current = set
			continue
		}
		r.old = append(r.old, set)
	}
	return r
}

// sameTemplate compares templates but for the label that tells the sets' pods apart.
func sameTemplate(a, b *corev1.PodTemplateSpec) bool {
	a, b = a.DeepCopy(), b.DeepCopy()
	delete(a.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	delete(b.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	return equality.Semantic.DeepEqual(a, b)
}

// all is the old sets and the current one.
func (r *rollout) all() []*appsv1.ReplicaSet {
	all := slices.Clone(r.old)
	if r.current != nil {
		all = append(all, r.current)
	}
	return all
}

// replace puts a set's new state in place of that with the same name.
func (r *rollout) replace(set *appsv1.ReplicaSet) {
	if r.current != nil && r.current.Name == set.Name {
		r.current = set
		return
	}
	for i := range r.old {
		if r.old[i].Name == set.Name {
			r.old[i] = set
		}
	}
}

// desired is how many pods the deployment asks for.
func (r *rollout) desired() int32 { return ptr.Deref(r.d.Spec.Replicas, 1) }

// bounds are how many pods there may be beyond the desired ones, and how many of those may be missing.
// They are 0 but in a rolling update.
func (r *rollout) bounds() (surge, unavailable int32) {
	rolling := r.d.Spec.Strategy.RollingUpdate
	if r.d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return 0, 0
	}
	quarter := intstr.FromString("25%")
	if rolling == nil {
		rolling = &appsv1.RollingUpdateDeployment{}
	}
	up := portion(ptr.Deref(rolling.MaxSurge, quarter), r.desired(), true)
	down := portion(ptr.Deref(rolling.MaxUnavailable, quarter), r.desired(), false)
	if up == 0 && down == 0 {
		down = 1 // both round to nothing, and a rollout must be able to move
	}
	return up, min(down, r.desired())
}

// minAvailable is how many pods a rollout leaves available.
func (r *rollout) minAvailable() int32 {
	_, unavailable := r.bounds()
	return r.desired() - unavailable
}

// portion is a count, or a percentage of the desired pods. What doesn't parse was refused by validation.
func portion(value intstr.IntOrString, desired int32, up bool) int32 {
	n, err := intstr.GetScaledValueFromIntOrPercent(&value, int(desired), up)
	if err != nil {
		return 0
	}
	return int32(n)
}

// size is what the arithmetic of a rollout needs to know of a set.
type size struct {
	replicas  int32
	available int32
	// leaving is the pods beyond replicas that the set hasn't deleted yet.
	leaving int32
	// busy tells that the set hasn't heard of its replicas yet: it may just be making pods that it
	// was asked for before.
	busy bool
}

// sizeOf never counts more pods available than are to stay: a set that was just scaled down may still
// report those that are about to go. That is right for a set that is busy too, as no busy one is ever raised.
func sizeOf(set *appsv1.ReplicaSet) size {
	if set == nil {
		return size{}
	}
	replicas := ptr.Deref(set.Spec.Replicas, 1)
	return size{
		replicas:  replicas,
		available: min(replicas, set.Status.AvailableReplicas),
		leaving:   max(0, set.Status.Replicas-replicas),
		busy:      set.Status.ObservedGeneration < set.Generation,
	}
}

func sizesOf(sets []*appsv1.ReplicaSet) []size {
	sizes := make([]size, len(sets))
	for i, set := range sets {
		sizes[i] = sizeOf(set)
	}
	return sizes
}

func sum(sizes []size) (total size) {
	for _, s := range sizes {
		total.replicas += s.replicas
		total.available += s.available
		total.leaving += s.leaving
		total.busy = total.busy || s.busy
	}
	return total
}
