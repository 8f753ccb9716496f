package embedded

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/manager"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// defaultCapabilities is what a container's root may do unless its pod says otherwise: the set that
// container runtimes agree on.
var defaultCapabilities = []string{
	"CAP_CHOWN", "CAP_DAC_OVERRIDE", "CAP_FSETID", "CAP_FOWNER", "CAP_MKNOD", "CAP_NET_RAW", "CAP_SETGID", "CAP_SETUID",
	"CAP_SETFCAP", "CAP_SETPCAP", "CAP_NET_BIND_SERVICE", "CAP_SYS_CHROOT", "CAP_KILL", "CAP_AUDIT_WRITE",
}

var allCapabilities = append(slices.Clone(defaultCapabilities),
	"CAP_AUDIT_CONTROL", "CAP_AUDIT_READ", "CAP_BLOCK_SUSPEND", "CAP_BPF", "CAP_CHECKPOINT_RESTORE", "CAP_DAC_READ_SEARCH",
	"CAP_IPC_LOCK", "CAP_IPC_OWNER", "CAP_LEASE", "CAP_LINUX_IMMUTABLE", "CAP_MAC_ADMIN", "CAP_MAC_OVERRIDE", "CAP_NET_ADMIN",
	"CAP_NET_BROADCAST", "CAP_PERFMON", "CAP_SYS_ADMIN", "CAP_SYS_BOOT", "CAP_SYS_MODULE", "CAP_SYS_NICE", "CAP_SYS_PACCT",
	"CAP_SYS_PTRACE", "CAP_SYS_RAWIO", "CAP_SYS_RESOURCE", "CAP_SYS_TIME", "CAP_SYS_TTY_CONFIG", "CAP_SYSLOG", "CAP_WAKE_ALARM",
)

// capabilities applies what a container adds and drops to the set that it starts from. What it adds must exist: it would
// run without what it asks for. To drop what does not exist is to have it dropped.
func capabilities(security *runtimeapi.LinuxContainerSecurityContext) (*specs.LinuxCapabilities, error) {
	set := slices.Clone(defaultCapabilities)
	change := security.GetCapabilities()
	if security.GetPrivileged() || slices.ContainsFunc(change.GetAddCapabilities(), isAll) {
		set = slices.Clone(allCapabilities)
	}
	if slices.ContainsFunc(change.GetDropCapabilities(), isAll) {
		set = nil
	}
	for _, given := range change.GetAddCapabilities() {
		name := capability(given)
		if !isAll(name) && !slices.Contains(allCapabilities, name) {
			return nil, fmt.Errorf("unknown capability %q in securityContext.capabilities.add: give one of Linux, such as NET_ADMIN", given)
		}
		if !isAll(name) && !slices.Contains(set, name) {
			set = append(set, name)
		}
	}
	for _, name := range change.GetDropCapabilities() {
		set = slices.DeleteFunc(set, func(have string) bool { return have == capability(name) })
	}
	return &specs.LinuxCapabilities{Bounding: set, Effective: set, Permitted: set}, nil
}

func isAll(name string) bool { return strings.EqualFold(strings.TrimPrefix(name, "CAP_"), "ALL") }

func capability(name string) string {
	if name = strings.ToUpper(name); isAll(name) || strings.HasPrefix(name, "CAP_") {
		return name
	}
	return "CAP_" + name
}

// resources are a container's limits.
func (r *Runtime) resources(config *runtimeapi.ContainerConfig) *specs.LinuxResources {
	given := config.GetLinux().GetResources()
	out := &specs.LinuxResources{
		Devices: []specs.LinuxDeviceCgroup{{Allow: config.GetLinux().GetSecurityContext().GetPrivileged(), Access: "rwm"}},
		CPU:     &specs.LinuxCPU{},
		Memory:  &specs.LinuxMemory{},
		Pids:    &specs.LinuxPids{Limit: &r.cfg.PidsLimit},
	}
	if shares := uint64(given.GetCpuShares()); shares > 0 {
		out.CPU.Shares = &shares
	}
	if quota := given.GetCpuQuota(); quota > 0 {
		period := uint64(given.GetCpuPeriod())
		out.CPU.Quota, out.CPU.Period = &quota, &period
	}
	if limit := given.GetMemoryLimitInBytes(); limit > 0 {
		out.Memory.Limit = &limit
		if swapAccounting() {
			out.Memory.Swap = &limit // memory and swap together: no swap
		}
	}
	return out
}

// swapAccounting says whether the kernel lets a cgroup's swap be limited.
func swapAccounting() bool {
	if cgroups.IsCgroup2UnifiedMode() {
		return true
	}
	_, err := os.Stat("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes")
	return err == nil
}

// removeCgroup removes a cgroup that has no processes and all below it, in every hierarchy.
func removeCgroup(path string) error {
	m, err := manager.New(&cgroups.Cgroup{Path: path, Resources: &cgroups.Resources{SkipDevices: true}})
	if err != nil {
		return err
	}
	return m.Destroy()
}

// removeEmptyParents removes the cgroups above path as far as nothing is left in them.
func removeEmptyParents(path string) error {
	for path = filepath.Dir(path); len(path) > 1; path = filepath.Dir(path) {
		m, err := manager.New(&cgroups.Cgroup{Path: path, Resources: &cgroups.Resources{SkipDevices: true}})
		if err != nil {
			return err
		}
		for _, dir := range m.GetPaths() {
			if err := unix.Rmdir(dir); err != nil && !errors.Is(err, unix.ENOENT) {
				return nil // others are in it
			}
		}
	}
	return nil
}
