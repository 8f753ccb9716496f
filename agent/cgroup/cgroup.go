// Package cgroup makes the control groups that containers are in: of a node's pods, of their classes of service and of
// each pod. It writes either version's files, whichever the machine has.
package cgroup

import (
	"fmt"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"
)

// Resources bound and weigh what is in a group. What is 0 is not bounded, and its weight is the kernel's default.
type Resources struct {
	// CPUShares weigh the group against its siblings while the CPUs are busy, 1024 a CPU.
	CPUShares uint64
	// CPUQuota is how many microseconds of each CPUPeriod the group may run.
	CPUQuota  int64
	CPUPeriod uint64
	// Memory is in bytes.
	Memory int64
	// Pids is the number of processes and threads.
	Pids int64
}

// Set makes the group at path, which begins at the root of each hierarchy, where it is missing, and gives it its resources.
func Set(path string, r Resources) error {
	m, err := manager.New(&cgroups.Cgroup{Path: path, Resources: r.settings()})
	if err == nil {
		err = m.Apply(-1) // the group, with no process in it
	}
	if err == nil {
		err = m.Set(r.settings())
	}
	if err != nil {
		return fmt.Errorf("cgroup %s: %w", path, err)
	}
	return nil
}

// Remove removes a group that has no processes, with all below it. One that is not there is no error.
func Remove(path string) error {
	m, err := manager.New(&cgroups.Cgroup{Path: path, Resources: &cgroups.Resources{SkipDevices: true}})
	if err != nil {
		return err
	}
	return m.Destroy()
}

// settings are in the terms of both versions: the first has shares, the second weights.
func (r Resources) settings() *cgroups.Resources {
	out := &cgroups.Resources{
		SkipDevices: true, SkipFreezeOnSet: true,
		CpuShares: r.CPUShares, CpuWeight: cgroups.ConvertCPUSharesToCgroupV2Value(r.CPUShares),
		CpuQuota: r.CPUQuota, CpuPeriod: r.CPUPeriod, Memory: r.Memory,
	}
	if r.Pids > 0 {
		out.PidsLimit = &r.Pids
	}
	if r.CPUQuota == 0 {
		out.CpuQuota = -1 // an earlier quota goes
	}
	if r.Memory == 0 {
		out.Memory = -1
	}
	return out
}
