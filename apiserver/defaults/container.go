package defaults

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
)

func applyContainer(c *corev1.Container) {
	set(&c.ImagePullPolicy, pullPolicy(c.Image))
	set(&c.TerminationMessagePath, corev1.TerminationMessagePathDefault)
	set(&c.TerminationMessagePolicy, corev1.TerminationMessageReadFile)
	for i := range c.Ports {
		set(&c.Ports[i].Protocol, corev1.ProtocolTCP)
	}
	for i := range c.Env {
		if from := c.Env[i].ValueFrom; from != nil {
			applyEnvSource(from)
		}
	}
	for _, probe := range []*corev1.Probe{c.LivenessProbe, c.ReadinessProbe, c.StartupProbe} {
		if probe != nil {
			applyProbe(probe)
		}
	}
	if c.Lifecycle != nil {
		applyHook(c.Lifecycle.PostStart)
		applyHook(c.Lifecycle.PreStop)
	}
	roundUp(c.Resources.Limits)
	roundUp(c.Resources.Requests)
}

func applyEnvSource(from *corev1.EnvVarSource) {
	if from.FieldRef != nil {
		set(&from.FieldRef.APIVersion, "v1")
	}
	if from.FileKeyRef != nil {
		setPointer(&from.FileKeyRef.Optional, false)
	}
}

func applyProbe(p *corev1.Probe) {
	set(&p.TimeoutSeconds, 1)
	set(&p.PeriodSeconds, 10)
	set(&p.SuccessThreshold, 1)
	set(&p.FailureThreshold, 3)
	applyHTTPGet(p.HTTPGet)
	if p.GRPC != nil {
		setPointer(&p.GRPC.Service, "")
	}
}

func applyHook(h *corev1.LifecycleHandler) {
	if h != nil {
		applyHTTPGet(h.HTTPGet)
	}
}

func applyHTTPGet(get *corev1.HTTPGetAction) {
	if get != nil {
		set(&get.Path, "/")
		set(&get.Scheme, corev1.URISchemeHTTP)
	}
}

// pullPolicy is Always for an image that may change under its name: tag latest, written or meant.
func pullPolicy(image string) corev1.PullPolicy {
	if imageTag(image) == "latest" {
		return corev1.PullAlways
	}
	return corev1.PullIfNotPresent
}

// imageTag is the tag of an image reference, "latest" when it names neither tag nor digest, and
// empty when it names only a digest. A colon before the last slash belongs to the registry's port.
func imageTag(image string) string {
	name, _, pinned := strings.Cut(image, "@")
	if colon := strings.LastIndexByte(name, ':'); colon > strings.LastIndexByte(name, '/') {
		return name[colon+1:]
	}
	if pinned {
		return ""
	}
	return "latest"
}
