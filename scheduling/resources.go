// Package scheduling is what a pod asks for and whether a node can take it: one arithmetic for the scheduler that
// chooses a node, the agent that admits the pod there, and whoever simulates them.
package scheduling

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
)

// Resources is an amount of what nodes give and pods ask for.
type Resources struct {
	MilliCPU         int64
	Memory           int64                         // bytes
	EphemeralStorage int64                         // bytes
	Extended         map[corev1.ResourceName]int64 // everything else but the number of pods; nil when there is nothing
}

// ResourcesOf adds up a list. The number of pods is not in it: pods are counted, not asked for.
func ResourcesOf(list corev1.ResourceList) Resources {
	var r Resources
	for name, quantity := range list {
		switch name {
		case corev1.ResourceCPU:
			r.MilliCPU = quantity.MilliValue()
		case corev1.ResourceMemory:
			r.Memory = quantity.Value()
		case corev1.ResourceEphemeralStorage:
			r.EphemeralStorage = quantity.Value()
		case corev1.ResourcePods: // counted, not asked for
		default:
			if r.Extended == nil {
				r.Extended = map[corev1.ResourceName]int64{}
			}
			r.Extended[name] = quantity.Value()
		}
	}
	return r
}

// Add changes r by times o: once more, or once less with -1.
func (r *Resources) Add(o *Resources, times int64) {
	r.MilliCPU += times * o.MilliCPU
	r.Memory += times * o.Memory
	r.EphemeralStorage += times * o.EphemeralStorage
	for name, amount := range o.Extended {
		if r.Extended == nil {
			r.Extended = map[corev1.ResourceName]int64{}
		}
		r.Extended[name] += times * amount
	}
}

// Clone copies r.
func (r *Resources) Clone() Resources {
	copied := *r
	copied.Extended = maps.Clone(r.Extended)
	return copied
}
