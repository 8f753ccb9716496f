package deployment

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/utils/ptr"
)

// rescaled tells whether the deployment was scaled since its sets were sized.
func (r *rollout) rescaled() bool {
	for _, set := range r.all() {
		if ptr.Deref(set.Spec.Replicas, 1) == 0 {
			continue
		}
		sized, err := strconv.ParseInt(set.Annotations[desiredAnnotation], 10, 32)
		if err == nil && int32(sized) != r.desired() {
			return true
		}
	}
	return false
}

// proportional spreads a change of the deployment's scale over its sets, in proportion to their sizes: what is half
// rolled out stays half rolled out.
func (r *rollout) proportional() plan {
	if only := r.onlyActive(); only != nil {
		return plan{only.Name: r.desired()}
	}
	if r.current != nil && r.saturated() {
		next := plan{}
		for _, set := range r.old {
			next[set.Name] = 0
		}
		return next
	}
	if r.d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return plan{}
	}
	return r.spread()
}

// raisesBusy tells whether a plan raises a set that hasn't heard of its replicas yet. If those were fewer than
// before, it may just be deleting pods that it still reports as available: raised, it would seem to keep them.
func (r *rollout) raisesBusy(next plan) bool {
	for _, set := range r.all() {
		if sizeOf(set).busy && next.change(set) > 0 {
			return true
		}
	}
	return false
}

// saturated tells whether the current set alone does the whole work.
func (r *rollout) saturated() bool {
	current := sizeOf(r.current)
	return current.replicas == r.desired() && current.available == r.desired()
}

// onlyActive is the one set with pods; with none, the newest; nil with several.
func (r *rollout) onlyActive() *appsv1.ReplicaSet {
	var active []*appsv1.ReplicaSet
	for _, set := range r.all() {
		if ptr.Deref(set.Spec.Replicas, 1) > 0 {
			active = append(active, set)
		}
	}
	switch {
	case len(active) == 1:
		return active[0]
	case len(active) > 1:
		return nil
	case r.current != nil:
		return r.current
	case len(r.old) > 0:
		return r.old[len(r.old)-1]
	}
	return nil
}

// share is one set in a spread.
type share struct {
	set    *appsv1.ReplicaSet
	size   size
	target int32
}

func (r *rollout) spread() plan {
	surge, _ := r.bounds()
	var allowed int32
	if r.desired() > 0 {
		allowed = r.desired() + surge
	}
	var shares []share
	for _, set := range r.all() {
		if s := sizeOf(set); s.replicas > 0 {
			shares = append(shares, share{set: set, size: s, target: s.replicas})
		}
	}
	change := allowed
	for _, s := range shares {
		change -= s.size.replicas
	}
	// The largest set takes what rounding leaves over; of equal ones the newest when growing, the oldest when shrinking.
	slices.SortStableFunc(shares, func(a, b share) int {
		age := b.set.CreationTimestamp.Compare(a.set.CreationTimestamp.Time)
		if change < 0 {
			age = -age
		}
		return cmp.Or(cmp.Compare(b.size.replicas, a.size.replicas), age)
	})
	rest := change
	for i := range shares {
		part := r.part(shares[i], allowed)
		if change > 0 {
			part = max(0, min(part, rest))
		} else {
			part = min(0, max(part, rest))
		}
		shares[i].target += part
		rest -= part
	}
	if len(shares) > 0 {
		shares[0].target = max(0, shares[0].target+rest)
	}
	keepAvailable(shares, r.minAvailable())
	next := plan{}
	for _, s := range shares {
		next[s.set.Name] = s.target
	}
	return next
}

// part is by how much a set should change when all of them together are to have allowed pods.
func (r *rollout) part(s share, allowed int32) int32 {
	if allowed == 0 {
		return -s.size.replicas
	}
	before, err := strconv.ParseInt(s.set.Annotations[maxAnnotation], 10, 32)
	if err != nil || before <= 0 {
		before = int64(r.d.Status.Replicas)
	}
	if before <= 0 {
		return 0
	}
	return int32(math.Round(float64(s.size.replicas)*float64(allowed)/float64(before))) - s.size.replicas
}

// keepAvailable gives sets back what they would lose of their available pods, as long as too few were
// left. Then there may be too many pods for a while; the rolling update takes those away.
func keepAvailable(shares []share, least int32) {
	lacking := least
	for _, s := range shares {
		lacking -= min(s.target, s.size.available)
	}
	for i := range shares {
		s := &shares[i]
		if back := min(lacking, s.size.available-s.target); back > 0 {
			s.target += back
			lacking -= back
		}
	}
}
