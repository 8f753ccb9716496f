package deployment

import (
	appsv1 "k8s.io/api/apps/v1"
)

// plan is the replicas that sets should have, by the sets' names. Sets that it doesn't name stay.
type plan map[string]int32

// step is the next step of a rolling update.
func (r *rollout) step() plan {
	surge, unavailable := r.bounds()
	s := rolling{desired: r.desired(), surge: surge, unavailable: unavailable}
	next := plan{}
	current := sizeOf(r.current)
	old := sizesOf(r.old)
	if r.current != nil {
		current.replicas = s.up(current, old)
		current.available = min(current.replicas, current.available)
		next[r.current.Name] = current.replicas
	}
	for i, replicas := range s.down(current, old) {
		if replicas != old[i].replicas {
			next[r.old[i].Name] = replicas
		}
	}
	return next
}

// rolling is the arithmetic of a rolling update.
//
//  1. up never lets there be more than desired+surge pods, those that are about to be deleted included. Pods that
//     are deleted and take their time to end don't count.
//  2. down never leaves fewer than desired−unavailable pods available; if there are fewer already,
//     it takes away none that is available.
//
// Both count on a set to delete its unavailable pods first.
type rolling struct {
	desired, surge, unavailable int32
}

// up is the replicas of the current set: as many as the old sets leave room for.
func (s rolling) up(current size, old []size) int32 {
	if current.replicas >= s.desired {
		return s.desired
	}
	all := sum(append(old[:len(old):len(old)], current))
	if all.busy {
		return current.replicas
	}
	room := s.desired + s.surge - all.replicas - all.leaving
	return min(s.desired, current.replicas+max(0, room))
}

// down is the replicas of the old sets.
func (s rolling) down(current size, old []size) []int32 {
	left := make([]int32, len(old))
	for i := range old {
		left[i] = old[i].replicas
	}
	least := s.desired - s.unavailable
	total := sum(old)
	// Pods of the current set that aren't available yet stand for old ones that may still be needed.
	spare := total.replicas + current.replicas - least - (current.replicas - current.available)
	// First those that are of no use, whichever set they are in.
	for i := range old {
		cut := min(spare, old[i].replicas-old[i].available)
		if cut > 0 {
			left[i] -= cut
			spare -= cut
		}
	}
	spare = total.available + current.available - least
	for i := range old {
		cut := min(spare, left[i])
		if cut > 0 {
			left[i] -= cut
			spare -= cut
		}
	}
	return left
}

// complete tells whether nothing is left to do but to wait for the status to say so.
func (r *rollout) complete() bool {
	if r.current == nil {
		return false
	}
	current := sizeOf(r.current)
	return current.replicas == r.desired() && current.available == r.desired() && sum(sizesOf(r.old)).replicas == 0 &&
		pods(r.old) == 0
}

// pods is how many pods sets report to have.
func pods(sets []*appsv1.ReplicaSet) (n int32) {
	for _, set := range sets {
		n += set.Status.Replicas
	}
	return n
}
