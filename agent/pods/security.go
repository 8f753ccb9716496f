package pods

import (
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/utils/ptr"
)

// securityContext is what a container may do: its own settings, and the pod's where it has none.
func securityContext(pod *corev1.Pod, c *corev1.Container, image *runtimeapi.Image) (*runtimeapi.LinuxContainerSecurityContext, error) {
	p, own := ptr.Deref(pod.Spec.SecurityContext, corev1.PodSecurityContext{}), ptr.Deref(c.SecurityContext, corev1.SecurityContext{})
	user, group := first(own.RunAsUser, p.RunAsUser), first(own.RunAsGroup, p.RunAsGroup)
	out := &runtimeapi.LinuxContainerSecurityContext{
		Privileged:         ptr.Deref(own.Privileged, false),
		ReadonlyRootfs:     ptr.Deref(own.ReadOnlyRootFilesystem, false),
		NoNewPrivs:         !ptr.Deref(own.AllowPrivilegeEscalation, true),
		SupplementalGroups: p.SupplementalGroups,
		NamespaceOptions:   namespaceOptions(pod),
		Capabilities:       &runtimeapi.Capability{},
	}
	if user != nil {
		out.RunAsUser = &runtimeapi.Int64Value{Value: *user}
	}
	if group != nil {
		out.RunAsGroup = &runtimeapi.Int64Value{Value: *group}
	}
	if p.FSGroup != nil {
		out.SupplementalGroups = append(append([]int64{}, out.SupplementalGroups...), *p.FSGroup)
	}
	if own.Capabilities != nil {
		for _, name := range own.Capabilities.Add {
			out.Capabilities.AddCapabilities = append(out.Capabilities.AddCapabilities, string(name))
		}
		for _, name := range own.Capabilities.Drop {
			out.Capabilities.DropCapabilities = append(out.Capabilities.DropCapabilities, string(name))
		}
	}
	if ptr.Deref(first(own.RunAsNonRoot, p.RunAsNonRoot), false) {
		return out, notRoot(user, image)
	}
	return out, nil
}

func first[T any](values ...*T) *T {
	for _, v := range values {
		if v != nil {
			return v
		}
	}
	return nil
}

// notRoot refuses a container that has to run as somebody else than root, and would not.
func notRoot(user *int64, image *runtimeapi.Image) error {
	switch {
	case user != nil && *user == 0:
		return errors.New("container's runAsUser breaks non-root policy")
	case user != nil:
		return nil
	case image.GetUid() != nil && image.GetUid().GetValue() != 0:
		return nil
	case image.GetUid() == nil && image.GetUsername() != "" && image.GetUsername() != "root":
		return fmt.Errorf("container has runAsNonRoot and image has non-numeric user (%s), cannot verify user is non-root: set runAsUser", image.GetUsername())
	}
	return errors.New("container has runAsNonRoot and image will run as root")
}
