package pods

import (
	"fmt"
	"path"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/ctlplane/ctlplane/agent/cgroup"
	"github.com/ctlplane/ctlplane/scheduling"
)

// podPids bounds the processes and threads of one pod.
const podPids = 4096

// Cgroups makes control groups, as agent/cgroup does.
type Cgroups interface {
	// Set makes the group at path, with its resources.
	Set(path string, resources cgroup.Resources) error
	// Remove removes a group without processes; none is no error.
	Remove(path string) error
}

// groups are the control groups of the node's pods: one for all, in it one for each class of service but Guaranteed, and
// in those, or for Guaranteed beside them, one a pod.
//
// Pods weigh against each other by what they ask for. That needs every level: the class Burstable weighs as much as its
// pods ask for together, BestEffort as little as can be.
type groups struct {
	mu   sync.Mutex
	last map[string]cgroup.Resources // of the node and its classes, as they were set last
}

// setCgroups gives a pod its group, and the groups above what they have with it.
func (m *Manager) setCgroups(pod *corev1.Pod) error {
	if err := m.weighClasses(); err != nil {
		return err
	}
	return m.cfg.Cgroups.Set(cgroupParent(m.cfg.CgroupRoot, pod), podResources(pod))
}

// weighClasses brings the groups above the pods' up to date.
func (m *Manager) weighClasses() error {
	m.groups.mu.Lock()
	defer m.groups.mu.Unlock()
	for group, resources := range m.classes() {
		group = path.Join("/", m.cfg.CgroupRoot, group)
		if last, ok := m.groups.last[group]; ok && last == resources {
			continue
		}
		if err := m.cfg.Cgroups.Set(group, resources); err != nil {
			return err
		}
		m.groups.last[group] = resources
	}
	return nil
}

// classes are what the group of all pods, named "", and those of their classes have.
func (m *Manager) classes() map[string]cgroup.Resources {
	burstable := int64(0)
	for _, pod := range m.admittedPods() {
		if qosClass(pod) == corev1.PodQOSBurstable {
			burstable += scheduling.RequestsOf(pod, nil).MilliCPU
		}
	}
	allocatable := m.cfg.Allocatable()
	return map[string]cgroup.Resources{
		"":           {CPUShares: uint64(cpuShares(*allocatable.Cpu())), Memory: allocatable.Memory().Value()},
		"burstable":  {CPUShares: uint64(cpuShares(*resource.NewMilliQuantity(burstable, resource.DecimalSI)))},
		"besteffort": {CPUShares: minCPUShares},
	}
}

// podResources weigh a pod by what it asks for, and bound it by its limits where each of its containers has one.
func podResources(pod *corev1.Pod) cgroup.Resources {
	requests := scheduling.RequestsOf(pod, nil)
	limits := resourcehelper.PodLimits(pod, resourcehelper.PodResourcesOptions{})
	out := cgroup.Resources{
		CPUShares: uint64(cpuShares(*resource.NewMilliQuantity(requests.MilliCPU, resource.DecimalSI))), Pids: podPids,
	}
	if limited(pod, corev1.ResourceCPU) {
		out.CPUQuota, out.CPUPeriod = cpuQuota(*limits.Cpu()), cpuPeriod
	}
	if limited(pod, corev1.ResourceMemory) {
		out.Memory = limits.Memory().Value()
	}
	return out
}

// limited tells whether the pod, or each of its containers, has a limit of a resource.
func limited(pod *corev1.Pod, name corev1.ResourceName) bool {
	if resourcehelper.IsPodLevelResourcesSet(pod) {
		if limit := pod.Spec.Resources.Limits[name]; !limit.IsZero() {
			return true
		}
	}
	for _, c := range allContainers(pod) {
		if limit := c.Resources.Limits[name]; limit.IsZero() {
			return false
		}
	}
	return true
}

// removeCgroup takes away the group of a pod that is off the node, and its weight.
func (m *Manager) removeCgroup(pod *corev1.Pod) error {
	if err := m.cfg.Cgroups.Remove(cgroupParent(m.cfg.CgroupRoot, pod)); err != nil {
		return fmt.Errorf("remove the pod's cgroup: %w", err)
	}
	return nil
}

// Kernel makes the machine's own control groups.
type Kernel struct{}

// Set is cgroup.Set.
func (Kernel) Set(path string, resources cgroup.Resources) error { return cgroup.Set(path, resources) }

// Remove is cgroup.Remove.
func (Kernel) Remove(path string) error { return cgroup.Remove(path) }
