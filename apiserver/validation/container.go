package validation

import (
	"fmt"
	"path"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

var (
	pullPolicies        = []corev1.PullPolicy{corev1.PullAlways, corev1.PullIfNotPresent, corev1.PullNever}
	terminationPolicies = []corev1.TerminationMessagePolicy{corev1.TerminationMessageReadFile, corev1.TerminationMessageFallbackToLogsOnError}
	protocols           = []corev1.Protocol{corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP}
)

// containerCheck holds what containers of one pod must agree on.
type containerCheck struct {
	names     sets.Set[string]
	volumes   map[string]bool
	hostPorts sets.Set[string]
	onHost    bool
}

func validateContainers(spec *corev1.PodSpec, volumes map[string]bool, path *field.Path) field.ErrorList {
	check := &containerCheck{
		names: sets.New[string](), volumes: volumes, hostPorts: sets.New[string](), onHost: spec.HostNetwork,
	}
	var errs field.ErrorList
	if len(spec.Containers) == 0 {
		errs = append(errs, field.Required(path.Child("containers"), ""))
	}
	for i := range spec.Containers {
		path := path.Child("containers").Index(i)
		errs = append(errs, check.container(&spec.Containers[i], path)...)
		errs = append(errs, validateRunning(&spec.Containers[i], path)...)
		errs = append(errs, validateNoPolicy(&spec.Containers[i], path)...)
		errs = append(errs, check.ports(&spec.Containers[i], path.Child("ports"))...)
	}
	for i := range spec.InitContainers {
		path := path.Child("initContainers").Index(i)
		errs = append(errs, check.container(&spec.InitContainers[i], path)...)
		errs = append(errs, validateInit(&spec.InitContainers[i], path)...)
		// Init containers run one after the other, so that they may use the same host ports.
		alone := &containerCheck{hostPorts: sets.New[string](), onHost: check.onHost}
		errs = append(errs, alone.ports(&spec.InitContainers[i], path.Child("ports"))...)
	}
	for i := range spec.EphemeralContainers {
		c := corev1.Container(spec.EphemeralContainers[i].EphemeralContainerCommon)
		errs = append(errs, check.container(&c, path.Child("ephemeralContainers").Index(i))...)
	}
	return errs
}

// container checks what holds for containers of every sort.
func (check *containerCheck) container(c *corev1.Container, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	switch {
	case c.Name == "":
		errs = append(errs, field.Required(path.Child("name"), ""))
	case check.names.Has(c.Name):
		errs = append(errs, field.Duplicate(path.Child("name"), c.Name))
	default:
		errs = append(errs, each(validation.IsDNS1123Label(c.Name), c.Name, path.Child("name"))...)
	}
	check.names.Insert(c.Name)
	if c.Image == "" {
		errs = append(errs, field.Required(path.Child("image"), ""))
	} else if strings.TrimSpace(c.Image) != c.Image {
		errs = append(errs, field.Invalid(path.Child("image"), c.Image, "must not have leading or trailing whitespace"))
	}
	errs = append(errs, chosen(c.ImagePullPolicy, pullPolicies, path.Child("imagePullPolicy"))...)
	errs = append(errs, oneOf(c.TerminationMessagePolicy, terminationPolicies, path.Child("terminationMessagePolicy"))...)
	errs = append(errs, validateEnv(c.Env, path.Child("env"))...)
	errs = append(errs, validateEnvFrom(c.EnvFrom, path.Child("envFrom"))...)
	errs = append(errs, check.mounts(c.VolumeMounts, path.Child("volumeMounts"))...)
	errs = append(errs, validateResources(&c.Resources, path.Child("resources"))...)
	errs = append(errs, validateContainerSecurity(c.SecurityContext, path.Child("securityContext"))...)
	return errs
}

// ports checks a container's ports, and that no two containers want one port of the host.
func (check *containerCheck) ports(c *corev1.Container, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	names := sets.New[string]()
	for i, port := range c.Ports {
		path := path.Index(i)
		if port.Name != "" {
			messages := validation.IsValidPortName(port.Name)
			errs = append(errs, each(messages, port.Name, path.Child("name"))...)
			if len(messages) == 0 && names.Has(port.Name) {
				errs = append(errs, field.Duplicate(path.Child("name"), port.Name))
			}
			names.Insert(port.Name)
		}
		if port.ContainerPort == 0 {
			errs = append(errs, field.Required(path.Child("containerPort"), ""))
		} else {
			errs = append(errs, each(validation.IsValidPortNum(int(port.ContainerPort)), port.ContainerPort, path.Child("containerPort"))...)
		}
		errs = append(errs, chosen(port.Protocol, protocols, path.Child("protocol"))...)
		errs = append(errs, check.hostPort(port, path)...)
	}
	return errs
}

func (check *containerCheck) hostPort(port corev1.ContainerPort, path *field.Path) field.ErrorList {
	if port.HostPort == 0 {
		return nil // also on the host's network: a template's pods get their host ports when they are made
	}
	if check.onHost && port.HostPort != port.ContainerPort {
		return field.ErrorList{field.Invalid(path.Child("hostPort"), port.HostPort, "must match `containerPort` when `hostNetwork` is true")}
	}
	errs := each(validation.IsValidPortNum(int(port.HostPort)), port.HostPort, path.Child("hostPort"))
	taken := fmt.Sprintf("%s/%s/%d", port.Protocol, port.HostIP, port.HostPort)
	if check.hostPorts.Has(taken) {
		errs = append(errs, field.Duplicate(path.Child("hostPort"), taken))
	}
	check.hostPorts.Insert(taken)
	return errs
}

// mounts checks that what is mounted is there, and each at a path of its own.
func (check *containerCheck) mounts(mounts []corev1.VolumeMount, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	mountPaths := sets.New[string]()
	for i, mount := range mounts {
		path := path.Index(i)
		if mount.Name == "" {
			errs = append(errs, field.Required(path.Child("name"), ""))
		} else if !check.volumes[mount.Name] {
			errs = append(errs, field.NotFound(path.Child("name"), mount.Name))
		}
		if mount.MountPath == "" {
			errs = append(errs, field.Required(path.Child("mountPath"), ""))
		}
		if mountPaths.Has(mount.MountPath) {
			errs = append(errs, field.Invalid(path.Child("mountPath"), mount.MountPath, "must be unique"))
		}
		mountPaths.Insert(mount.MountPath)
		if mount.SubPath != "" && mount.SubPathExpr != "" {
			errs = append(errs, field.Invalid(path.Child("subPathExpr"), mount.SubPathExpr, "subPathExpr and subPath are mutually exclusive"))
		}
		errs = append(errs, validateInside(mount.SubPath, path.Child("subPath"))...)
		errs = append(errs, validateInside(mount.SubPathExpr, path.Child("subPathExpr"))...)
	}
	return errs
}

// validateInside refuses a path that could lead out of the directory that it is relative to.
func validateInside(inner string, fieldPath *field.Path) field.ErrorList {
	var errs field.ErrorList
	if path.IsAbs(inner) {
		errs = append(errs, field.Invalid(fieldPath, inner, "must be a relative path"))
	}
	for part := range strings.SplitSeq(inner, "/") {
		if part == ".." {
			return append(errs, field.Invalid(fieldPath, inner, "must not contain '..'"))
		}
	}
	return errs
}

// validateRunning checks what only containers have that keep running.
func validateRunning(c *corev1.Container, path *field.Path) field.ErrorList {
	errs := validateProbe(c.LivenessProbe, true, path.Child("livenessProbe"))
	errs = append(errs, validateProbe(c.StartupProbe, true, path.Child("startupProbe"))...)
	errs = append(errs, validateProbe(c.ReadinessProbe, false, path.Child("readinessProbe"))...)
	if c.Lifecycle != nil {
		errs = append(errs, validateHook(c.Lifecycle.PostStart, path.Child("lifecycle", "postStart"))...)
		errs = append(errs, validateHook(c.Lifecycle.PreStop, path.Child("lifecycle", "preStop"))...)
	}
	return errs
}

// validateNoPolicy refuses a restart policy of a container's own: all that are not init containers
// have their pod's.
func validateNoPolicy(c *corev1.Container, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if c.RestartPolicy != nil {
		errs = append(errs, field.Forbidden(path.Child("restartPolicy"), "may not be set for non-init containers"))
	}
	if len(c.RestartPolicyRules) > 0 {
		errs = append(errs, field.Forbidden(path.Child("restartPolicyRules"), "may not be set for non-init containers"))
	}
	return errs
}

// validateInit checks an init container, which has probes and hooks only if it keeps running.
func validateInit(c *corev1.Container, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	if c.RestartPolicy != nil {
		if *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			return validateRunning(c, path)
		}
		errs = append(errs, field.NotSupported(path.Child("restartPolicy"), *c.RestartPolicy,
			[]corev1.ContainerRestartPolicy{corev1.ContainerRestartPolicyAlways}))
	}
	forbid := func(set bool, name string) {
		if set {
			errs = append(errs, field.Forbidden(path.Child(name), "may not be set for init containers without restartPolicy=Always"))
		}
	}
	forbid(c.LivenessProbe != nil, "livenessProbe")
	forbid(c.ReadinessProbe != nil, "readinessProbe")
	forbid(c.StartupProbe != nil, "startupProbe")
	forbid(c.Lifecycle != nil, "lifecycle")
	return errs
}

func validateContainerSecurity(security *corev1.SecurityContext, path *field.Path) field.ErrorList {
	if security == nil {
		return nil
	}
	errs := validateIdentity(security.RunAsUser, security.RunAsGroup, path)
	if escalation := security.AllowPrivilegeEscalation; escalation != nil && !*escalation {
		if security.Privileged != nil && *security.Privileged {
			errs = append(errs, field.Invalid(path, security, "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"))
		}
		if security.Capabilities != nil {
			for _, capability := range security.Capabilities.Add {
				if capability == "CAP_SYS_ADMIN" || capability == "SYS_ADMIN" {
					errs = append(errs, field.Invalid(path, security, "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"))
				}
			}
		}
	}
	return errs
}
