package pods

import (
	"path"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// qosClass is a pod's class of service, by whether its containers state requests and limits of CPU and memory.
func qosClass(pod *corev1.Pod) corev1.PodQOSClass {
	guaranteed, any := true, false
	for _, c := range allContainers(pod) {
		for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
			request, limit := c.Resources.Requests[name], c.Resources.Limits[name]
			if request.IsZero() {
				request = limit
			}
			any = any || !request.IsZero() || !limit.IsZero()
			guaranteed = guaranteed && !limit.IsZero() && request.Equal(limit)
		}
	}
	switch {
	case !any:
		return corev1.PodQOSBestEffort
	case guaranteed:
		return corev1.PodQOSGuaranteed
	}
	return corev1.PodQOSBurstable
}

// cgroupParent is the cgroup of a pod, below the node's own.
func cgroupParent(root string, pod *corev1.Pod) string {
	class := map[corev1.PodQOSClass]string{corev1.PodQOSBestEffort: "besteffort", corev1.PodQOSBurstable: "burstable"}[qosClass(pod)]
	return path.Join("/", root, class, "pod"+string(pod.UID))
}

// Scores by which the kernel chooses what to kill when the node has no memory left: who stated the most
// is killed last.
const (
	oomGuaranteed = -997
	oomBestEffort = 1000
	oomBurstMin   = 3
)

func oomScoreAdj(pod *corev1.Pod, c *corev1.Container, capacity resource.Quantity) int64 {
	switch qosClass(pod) {
	case corev1.PodQOSGuaranteed:
		return oomGuaranteed
	case corev1.PodQOSBestEffort:
		return oomBestEffort
	}
	total := capacity.Value()
	if total == 0 {
		return oomBestEffort - 1
	}
	score := 1000 - 1000*c.Resources.Requests.Memory().Value()/total
	return min(max(score, oomBurstMin), oomBestEffort-1)
}

// Conversions of CPU quantities into what the kernel's scheduler takes.
const (
	cpuPeriod    = 100_000 // microseconds
	minCPUQuota  = 1_000
	sharesPerCPU = 1024
	minCPUShares = 2
)

func cpuShares(request resource.Quantity) int64 {
	return max(request.MilliValue()*sharesPerCPU/1000, minCPUShares)
}

func cpuQuota(limit resource.Quantity) int64 {
	if limit.IsZero() {
		return 0
	}
	return max(limit.MilliValue()*cpuPeriod/1000, minCPUQuota)
}
