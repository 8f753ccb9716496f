package pods

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/agent/volume"
	"github.com/ctlplane/ctlplane/scheduling"
)

func podLabels(pod *corev1.Pod) map[string]string {
	return map[string]string{labelPodName: pod.Name, labelPodNamespace: pod.Namespace, labelPodUID: string(pod.UID)}
}

// sandboxConfig describes a pod's sandbox to the runtime.
func (m *Manager) sandboxConfig(pod *corev1.Pod, attempt uint32) *runtimeapi.PodSandboxConfig {
	config := &runtimeapi.PodSandboxConfig{
		Metadata:     &runtimeapi.PodSandboxMetadata{Name: pod.Name, Namespace: pod.Namespace, Uid: string(pod.UID), Attempt: attempt},
		Hostname:     podHostname(pod),
		LogDirectory: m.logDir(pod),
		DnsConfig:    m.dns(pod),
		Labels:       podLabels(pod),
		Annotations:  map[string]string{annotationGrace: strconv.FormatInt(graceOf(pod), 10)},
		Linux: &runtimeapi.LinuxPodSandboxConfig{
			CgroupParent:    cgroupParent(m.cfg.CgroupRoot, pod),
			SecurityContext: &runtimeapi.LinuxSandboxSecurityContext{NamespaceOptions: namespaceOptions(pod)},
			Sysctls:         map[string]string{},
		},
	}
	if !pod.Spec.HostNetwork { // whose ports are the node's as they are
		config.PortMappings = portMappings(pod)
	}
	if pod.Spec.SecurityContext != nil {
		for _, sysctl := range pod.Spec.SecurityContext.Sysctls {
			config.Linux.Sysctls[sysctl.Name] = sysctl.Value
		}
	}
	return config
}

// portMappings are the ports of the node that lead to the pod.
func portMappings(pod *corev1.Pod) []*runtimeapi.PortMapping {
	protocols := map[corev1.Protocol]runtimeapi.Protocol{
		corev1.ProtocolTCP: runtimeapi.Protocol_TCP, corev1.ProtocolUDP: runtimeapi.Protocol_UDP, corev1.ProtocolSCTP: runtimeapi.Protocol_SCTP,
	}
	var list []*runtimeapi.PortMapping
	for _, port := range scheduling.HostPorts(pod) {
		list = append(list, &runtimeapi.PortMapping{
			Protocol: protocols[port.Protocol], HostIp: port.IP, HostPort: port.Port, ContainerPort: port.ContainerPort,
		})
	}
	return list
}

func podHostname(pod *corev1.Pod) string {
	name := pod.Name
	if pod.Spec.Hostname != "" {
		name = pod.Spec.Hostname
	}
	return name[:min(len(name), 63)]
}

func namespaceOptions(pod *corev1.Pod) *runtimeapi.NamespaceOption {
	options := &runtimeapi.NamespaceOption{Pid: runtimeapi.NamespaceMode_CONTAINER}
	if pod.Spec.HostNetwork {
		options.Network = runtimeapi.NamespaceMode_NODE
	}
	if pod.Spec.HostPID {
		options.Pid = runtimeapi.NamespaceMode_NODE
	}
	if pod.Spec.HostIPC {
		options.Ipc = runtimeapi.NamespaceMode_NODE
	}
	return options
}

// dns is how a pod resolves names; nil is as the node does.
func (m *Manager) dns(pod *corev1.Pod) *runtimeapi.DNSConfig {
	var config *runtimeapi.DNSConfig
	clusterFirst := pod.Spec.DNSPolicy == corev1.DNSClusterFirstWithHostNet || pod.Spec.DNSPolicy == corev1.DNSClusterFirst && !pod.Spec.HostNetwork
	switch {
	case pod.Spec.DNSPolicy == corev1.DNSNone:
		config = &runtimeapi.DNSConfig{}
	case clusterFirst && m.cfg.ClusterDNS != "":
		domain := m.cfg.ClusterDomain
		config = &runtimeapi.DNSConfig{
			Servers:  []string{m.cfg.ClusterDNS},
			Searches: []string{pod.Namespace + ".svc." + domain, "svc." + domain, domain},
			Options:  []string{"ndots:5"},
		}
	}
	extra := pod.Spec.DNSConfig
	if extra == nil {
		return config
	}
	if config == nil {
		config = &runtimeapi.DNSConfig{}
	}
	config.Servers = append(config.Servers, extra.Nameservers...)
	config.Searches = append(config.Searches, extra.Searches...)
	for _, option := range extra.Options {
		text := option.Name
		if option.Value != nil {
			text += ":" + *option.Value
		}
		config.Options = append(config.Options, text)
	}
	return config
}

// containerConfig describes a run of a container to the runtime.
func (m *Manager) containerConfig(ctx context.Context, pod *corev1.Pod, c *corev1.Container, image *runtimeapi.Image, attempt uint32, volumes map[string]string) (*runtimeapi.ContainerConfig, error) {
	if err := unsupported(pod); err != nil {
		return nil, err
	}
	env, err := m.environment(ctx, pod, c)
	if err != nil {
		return nil, err
	}
	security, err := securityContext(pod, c, image)
	if err != nil {
		return nil, err
	}
	config := &runtimeapi.ContainerConfig{
		Metadata:    &runtimeapi.ContainerMetadata{Name: c.Name, Attempt: attempt},
		Image:       &runtimeapi.ImageSpec{Image: image.GetId(), UserSpecifiedImage: c.Image},
		Command:     expandAll(c.Command, env.lookup),
		Args:        expandAll(c.Args, env.lookup),
		WorkingDir:  c.WorkingDir,
		Envs:        env.entries,
		Labels:      podLabels(pod),
		Annotations: map[string]string{annotationGrace: strconv.FormatInt(graceOf(pod), 10)},
		LogPath:     filepath.Join(c.Name, fmt.Sprintf("%d.log", attempt)),
		Linux:       &runtimeapi.LinuxContainerConfig{Resources: m.resources(pod, c), SecurityContext: security},
	}
	config.Labels[labelContainerName] = c.Name
	if config.Mounts, err = m.mounts(pod, c, attempt, volumes, env); err != nil {
		return nil, err
	}
	return config, m.terminationMessage(pod, c, attempt, config)
}

// unsupported says what the pod asks for that this node can't give it. Such a pod waits: it would not be what it asks
// to be, and a node that failed it would be sent another.
func unsupported(pod *corev1.Pod) error {
	switch {
	case pod.Spec.RuntimeClassName != nil:
		return fmt.Errorf("runtimeClassName %q: this node has one runtime and no classes of it: leave runtimeClassName out", *pod.Spec.RuntimeClassName)
	case ptr.Deref(pod.Spec.ShareProcessNamespace, false):
		return errors.New("shareProcessNamespace is not supported yet: give each container what it needs to know of the others")
	case !ptr.Deref(pod.Spec.HostUsers, true):
		return errors.New("hostUsers: false is not supported yet: leave it out, and name a user with runAsUser")
	}
	return nil
}

func (m *Manager) resources(pod *corev1.Pod, c *corev1.Container) *runtimeapi.LinuxContainerResources {
	request := c.Resources.Requests.Cpu()
	if request.IsZero() {
		request = c.Resources.Limits.Cpu()
	}
	return &runtimeapi.LinuxContainerResources{
		CpuPeriod:          cpuPeriod,
		CpuQuota:           cpuQuota(*c.Resources.Limits.Cpu()),
		CpuShares:          cpuShares(*request),
		MemoryLimitInBytes: c.Resources.Limits.Memory().Value(),
		OomScoreAdj:        oomScoreAdj(pod, c, m.cfg.Capacity()[corev1.ResourceMemory]),
	}
}

// mounts are a container's volumes and the pod's hosts file.
func (m *Manager) mounts(pod *corev1.Pod, c *corev1.Container, attempt uint32, volumes map[string]string, env *environment) ([]*runtimeapi.Mount, error) {
	var list []*runtimeapi.Mount
	ownHosts := false
	for i, vm := range c.VolumeMounts {
		source, ok := volumes[vm.Name]
		if !ok {
			return nil, fmt.Errorf("volumeMount %q: the pod has no volume of that name", vm.Name)
		}
		if ptr.Deref(vm.MountPropagation, corev1.MountPropagationNone) == corev1.MountPropagationBidirectional && !privileged(c) {
			return nil, fmt.Errorf("volumeMount %q: Bidirectional mount propagation is available only to privileged containers", vm.Name)
		}
		sub := vm.SubPath
		if vm.SubPathExpr != "" {
			sub = expand(vm.SubPathExpr, env.lookup)
		}
		if sub != "" {
			target := filepath.Join(m.subPaths(pod.UID, c.Name, attempt), strconv.Itoa(i))
			var err error
			if source, err = volume.SubPath(source, sub, target, ptr.Deref(vm.MountPropagation, corev1.MountPropagationNone)); err != nil {
				return nil, fmt.Errorf("volumeMount %q: %w", vm.Name, err)
			}
		}
		list = append(list, &runtimeapi.Mount{
			ContainerPath: vm.MountPath, HostPath: source, Readonly: vm.ReadOnly, Propagation: propagation(vm.MountPropagation),
		})
		ownHosts = ownHosts || filepath.Clean(vm.MountPath) == "/etc/hosts"
	}
	if ownHosts {
		return list, nil
	}
	hosts := filepath.Join(m.podDir(pod.UID), "hosts")
	if err := writeHosts(hosts, pod, m.cfg.ClusterDomain); err != nil {
		return nil, err
	}
	return append(list, &runtimeapi.Mount{ContainerPath: "/etc/hosts", HostPath: hosts}), nil
}

// subPaths is where the sub paths of a container's run are mounted.
func (m *Manager) subPaths(uid types.UID, container string, attempt uint32) string {
	return filepath.Join(m.podDir(uid), "subpaths", fmt.Sprintf("%s-%d", container, attempt))
}

func privileged(c *corev1.Container) bool {
	return c.SecurityContext != nil && ptr.Deref(c.SecurityContext.Privileged, false)
}

func propagation(mode *corev1.MountPropagationMode) runtimeapi.MountPropagation {
	switch ptr.Deref(mode, corev1.MountPropagationNone) {
	case corev1.MountPropagationHostToContainer:
		return runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER
	case corev1.MountPropagationBidirectional:
		return runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL
	}
	return runtimeapi.MountPropagation_PROPAGATION_PRIVATE
}

// terminationMessage gives a run the file in which it may say why it ended.
func (m *Manager) terminationMessage(pod *corev1.Pod, c *corev1.Container, attempt uint32, config *runtimeapi.ContainerConfig) error {
	path := c.TerminationMessagePath
	if path == "" {
		path = corev1.TerminationMessagePathDefault
	}
	file := filepath.Join(m.podDir(pod.UID), "messages", fmt.Sprintf("%s-%d", c.Name, attempt))
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		return err
	}
	if err := os.WriteFile(file, nil, 0o666); err != nil {
		return err
	}
	if err := os.Chmod(file, 0o666); err != nil { // whatever the umask: the container's user writes it
		return err
	}
	config.Annotations[annotationMessagePath] = file
	config.Annotations[annotationMessagePolicy] = string(c.TerminationMessagePolicy)
	config.Mounts = append(config.Mounts, &runtimeapi.Mount{ContainerPath: path, HostPath: file})
	return nil
}
