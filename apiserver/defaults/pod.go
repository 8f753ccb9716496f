package defaults

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// applyPod sets what only a pod itself gets. A template inside a Deployment or ReplicaSet does not
// get it (see applyPodSpec), so that the template stays what its author wrote.
func applyPod(pod *corev1.Pod) {
	spec := &pod.Spec
	setPointer(&spec.EnableServiceLinks, corev1.DefaultEnableServiceLinks)
	eachContainer(spec, func(c *corev1.Container) {
		requestLimits(&c.Resources)
		if spec.HostNetwork {
			publishOnHost(c)
		}
	})
	if spec.Resources != nil {
		requestPodLimits(spec)
	}
	applyPodSpec(spec)
	set(&pod.Status.Phase, corev1.PodPending)
	set(&pod.Status.QOSClass, QOSClass(spec))
	applyAddresses(&pod.Status)
}

// applyAddresses fills in the older field for one address from the newer one for several, and the
// other way round.
func applyAddresses(status *corev1.PodStatus) {
	switch {
	case len(status.PodIPs) > 0:
		set(&status.PodIP, status.PodIPs[0].IP)
	case status.PodIP != "":
		status.PodIPs = []corev1.PodIP{{IP: status.PodIP}}
	}
	switch {
	case len(status.HostIPs) > 0:
		set(&status.HostIP, status.HostIPs[0].IP)
	case status.HostIP != "":
		status.HostIPs = []corev1.HostIP{{IP: status.HostIP}}
	}
}

// applyPodSpec sets the defaults that pods and pod templates share.
func applyPodSpec(spec *corev1.PodSpec) {
	set(&spec.DNSPolicy, corev1.DNSClusterFirst)
	set(&spec.RestartPolicy, corev1.RestartPolicyAlways)
	set(&spec.SchedulerName, corev1.DefaultSchedulerName)
	setPointer(&spec.SecurityContext, corev1.PodSecurityContext{})
	setPointer(&spec.TerminationGracePeriodSeconds, corev1.DefaultTerminationGracePeriodSeconds)
	eachContainer(spec, applyContainer)
	for i := range spec.EphemeralContainers {
		c := corev1.Container(spec.EphemeralContainers[i].EphemeralContainerCommon)
		applyContainer(&c)
		spec.EphemeralContainers[i].EphemeralContainerCommon = corev1.EphemeralContainerCommon(c)
	}
	for i := range spec.Volumes {
		applyVolume(&spec.Volumes[i])
	}
	if spec.Resources != nil {
		roundUp(spec.Resources.Limits)
		roundUp(spec.Resources.Requests)
	}
	roundUp(spec.Overhead)
}

// eachContainer calls f for the init containers and the containers, not for ephemeral ones.
func eachContainer(spec *corev1.PodSpec, f func(*corev1.Container)) {
	for i := range spec.InitContainers {
		f(&spec.InitContainers[i])
	}
	for i := range spec.Containers {
		f(&spec.Containers[i])
	}
}

// requestLimits lets a container that is limited but asks for nothing ask for its limit.
func requestLimits(r *corev1.ResourceRequirements) {
	for name, limit := range r.Limits {
		if _, ok := r.Requests[name]; ok {
			continue
		}
		if r.Requests == nil {
			r.Requests = corev1.ResourceList{}
		}
		r.Requests[name] = limit.DeepCopy()
	}
}

// requestPodLimits is requestLimits for the resources of the pod as a whole. Where containers ask
// for a resource themselves, their sum already is the pod's request.
func requestPodLimits(spec *corev1.PodSpec) {
	asked := map[corev1.ResourceName]bool{}
	eachContainer(spec, func(c *corev1.Container) {
		for name := range c.Resources.Requests {
			asked[name] = true
		}
	})
	limits := corev1.ResourceList{}
	for name, limit := range spec.Resources.Limits {
		if !asked[name] {
			limits[name] = limit
		}
	}
	wanted := corev1.ResourceRequirements{Limits: limits, Requests: spec.Resources.Requests}
	requestLimits(&wanted)
	spec.Resources.Requests = wanted.Requests
}

// publishOnHost gives the ports of a container in its host's network their host port: the same one.
func publishOnHost(c *corev1.Container) {
	for i := range c.Ports {
		set(&c.Ports[i].HostPort, c.Ports[i].ContainerPort)
	}
}

// roundUp brings quantities to the precision that is kept, a thousandth.
func roundUp(list corev1.ResourceList) {
	for name, quantity := range list {
		quantity.RoundUp(resource.Milli)
		list[name] = quantity
	}
}
