package defaults

import corev1 "k8s.io/api/core/v1"

// QOSClass tells how a pod's requests and limits rank it when its node runs short: Guaranteed when
// every container limits its CPU and memory and requests just that, BestEffort when none asks for
// anything, Burstable in between.
func QOSClass(spec *corev1.PodSpec) corev1.PodQOSClass {
	if spec.Resources != nil && (asksFor(spec.Resources) || limits(spec.Resources)) {
		if guaranteed(spec.Resources) {
			return corev1.PodQOSGuaranteed
		}
		return corev1.PodQOSBurstable
	}
	anything, everything := false, true
	eachContainer(spec, func(c *corev1.Container) {
		anything = anything || asksFor(&c.Resources) || limits(&c.Resources)
		everything = everything && guaranteed(&c.Resources)
	})
	switch {
	case !anything:
		return corev1.PodQOSBestEffort
	case everything:
		return corev1.PodQOSGuaranteed
	default:
		return corev1.PodQOSBurstable
	}
}

var qosResources = []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory}

func asksFor(r *corev1.ResourceRequirements) bool { return anyPositive(r.Requests) }

func limits(r *corev1.ResourceRequirements) bool { return anyPositive(r.Limits) }

func anyPositive(list corev1.ResourceList) bool {
	for _, name := range qosResources {
		if quantity, ok := list[name]; ok && quantity.Sign() > 0 {
			return true
		}
	}
	return false
}

func guaranteed(r *corev1.ResourceRequirements) bool {
	for _, name := range qosResources {
		limit, limited := r.Limits[name]
		if !limited || limit.Sign() <= 0 {
			return false
		}
		if request, ok := r.Requests[name]; ok && request.Cmp(limit) != 0 {
			return false
		}
	}
	return true
}
