package embedded

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"
	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/ctlplane/ctlplane/agent/image"
)

const defaultPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// maxOpenFiles is how many files a container's process may have open, where the agent itself may have as many.
const maxOpenFiles = 1 << 20

var (
	// The parts of /proc and /sys that show or change the node rather than the container.
	maskedPaths = []string{
		"/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/sched_debug",
		"/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/devices/virtual/powercap", "/sys/firmware",
	}
	readonlyPaths = []string{"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"}
)

// specification describes a container in OCI's terms.
func (r *Runtime) specification(c *container, s *sandbox, img image.Image) (*specs.Spec, error) {
	args := command(c.config, img)
	if len(args) == 0 {
		return nil, fmt.Errorf("no command: neither the container nor its image %s names one", c.config.GetImage().GetImage())
	}
	security := c.config.GetLinux().GetSecurityContext()
	user, err := resolveUser(c.dir.RootFS(), img.Config.User, security)
	if err != nil {
		return nil, err
	}
	granted, err := capabilities(security)
	if err != nil {
		return nil, err
	}
	if err := checkPropagation(c.config.GetMounts()); err != nil {
		return nil, err
	}
	adj := oomScoreAdj(int(c.config.GetLinux().GetResources().GetOomScoreAdj()))
	spec := &specs.Spec{
		Version: specs.Version,
		Root:    &specs.Root{Path: c.dir.RootFS(), Readonly: security.GetReadonlyRootfs()},
		Process: &specs.Process{
			User:            user,
			Args:            args,
			Env:             environment(c.config, s, img),
			Cwd:             workingDir(c.config, img),
			Capabilities:    granted,
			Rlimits:         openFiles(),
			NoNewPrivileges: security.GetNoNewPrivs(),
			OOMScoreAdj:     &adj,
		},
		Mounts: mounts(c.config, s, img),
		Linux: &specs.Linux{
			Namespaces:        s.specNamespaces(c.config),
			RootfsPropagation: rootPropagation(c.config.GetMounts()),
			Sysctl:            s.config.GetLinux().GetSysctls(),
			Resources:         r.resources(c.config),
		},
	}
	if !security.GetPrivileged() {
		spec.Linux.MaskedPaths, spec.Linux.ReadonlyPaths = maskedPaths, readonlyPaths
	}
	return spec, nil
}

func openFiles() []specs.POSIXRlimit {
	var own unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &own); err != nil {
		return nil
	}
	limit := min(own.Max, maxOpenFiles)
	return []specs.POSIXRlimit{{Type: "RLIMIT_NOFILE", Hard: limit, Soft: limit}}
}

// command follows the rule of images: a command replaces the image's entry point and its arguments,
// arguments alone replace the image's arguments.
func command(config *runtimeapi.ContainerConfig, img image.Image) []string {
	switch {
	case len(config.GetCommand()) > 0:
		return slices.Concat(config.GetCommand(), config.GetArgs())
	case len(config.GetArgs()) > 0:
		return slices.Concat(img.Config.Entrypoint, config.GetArgs())
	}
	return slices.Concat(img.Config.Entrypoint, img.Config.Cmd)
}

// environment is the image's, the pod's and the container's; of two with one name the later one holds.
func environment(config *runtimeapi.ContainerConfig, s *sandbox, img image.Image) []string {
	values := map[string]int{}
	var env []string
	set := func(entry string) {
		name, _, _ := strings.Cut(entry, "=")
		if i, ok := values[name]; ok {
			env[i] = entry
			return
		}
		values[name] = len(env)
		env = append(env, entry)
	}
	set(defaultPath)
	set("HOSTNAME=" + hostname(s.config))
	for _, entry := range img.Config.Env {
		set(entry)
	}
	for _, entry := range config.GetEnvs() {
		set(entry.GetKey() + "=" + string(entry.GetValue()))
	}
	return env
}

func workingDir(config *runtimeapi.ContainerConfig, img image.Image) string {
	dir := config.GetWorkingDir()
	if dir == "" {
		dir = img.Config.WorkingDir
	}
	return path.Join("/", dir)
}

// specNamespaces are the pod's pinned ones and those that a container has to itself.
func (s *sandbox) specNamespaces(config *runtimeapi.ContainerConfig) []specs.LinuxNamespace {
	list := []specs.LinuxNamespace{{Type: specs.MountNamespace}}
	if config.GetLinux().GetSecurityContext().GetNamespaceOptions().GetPid() != runtimeapi.NamespaceMode_NODE {
		list = append(list, specs.LinuxNamespace{Type: specs.PIDNamespace})
	}
	kinds := map[namespace]specs.LinuxNamespaceType{
		netNamespace: specs.NetworkNamespace, ipcNamespace: specs.IPCNamespace, utsNamespace: specs.UTSNamespace,
	}
	for _, kind := range s.kinds() {
		list = append(list, specs.LinuxNamespace{Type: kinds[kind], Path: s.namespace(kind)})
	}
	return list
}

// mounts are the kernel's file systems, the pod's files, the image's and the container's volumes.
func mounts(config *runtimeapi.ContainerConfig, s *sandbox, img image.Image) []specs.Mount {
	access := "ro"
	if config.GetLinux().GetSecurityContext().GetPrivileged() {
		access = "rw"
	}
	list := []specs.Mount{
		{Destination: "/proc", Type: "proc", Source: "proc", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/dev", Type: "tmpfs", Source: "tmpfs", Options: []string{"nosuid", "strictatime", "mode=755", "size=65536k"}},
		{Destination: "/dev/pts", Type: "devpts", Source: "devpts", Options: []string{"nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"}},
		{Destination: "/dev/mqueue", Type: "mqueue", Source: "mqueue", Options: []string{"nosuid", "noexec", "nodev"}},
		{Destination: "/sys", Type: "sysfs", Source: "sysfs", Options: []string{"nosuid", "noexec", "nodev", access}},
		{Destination: "/sys/fs/cgroup", Type: "cgroup", Source: "cgroup", Options: []string{"nosuid", "noexec", "nodev", "relatime", access}},
		bind(s.resolvConf(), "/etc/resolv.conf", "rw"),
		bind(s.hostnameFile(), "/etc/hostname", "rw"),
	}
	if s.hostIPC() {
		list = append(list, bind("/dev/shm", "/dev/shm", "rw"))
	} else {
		list = append(list, bind(s.shm(), "/dev/shm", "rw"))
	}
	for _, file := range img.Binds {
		list = append(list, bind(file.Source, file.Destination, "ro"))
	}
	return append(list, volumeMounts(config.GetMounts())...)
}

// rootPropagation is what the container's mounts have to start from for the widest of them: OCI's default, by which
// nothing goes out of the container, is also the most that most of them need.
func rootPropagation(given []*runtimeapi.Mount) string {
	for _, m := range given {
		if m.GetPropagation() == runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL {
			return "rshared"
		}
	}
	return ""
}

func bind(source, destination, access string) specs.Mount {
	return specs.Mount{Destination: destination, Type: "bind", Source: source, Options: []string{"rbind", "rprivate", access}}
}

// volumeMounts orders mounts so that one inside another comes after it.
func volumeMounts(given []*runtimeapi.Mount) []specs.Mount {
	list := make([]specs.Mount, 0, len(given))
	for _, m := range given {
		access := "rw"
		if m.GetReadonly() {
			access = "ro"
		}
		out := bind(m.GetHostPath(), path.Clean(m.GetContainerPath()), access)
		switch m.GetPropagation() {
		case runtimeapi.MountPropagation_PROPAGATION_HOST_TO_CONTAINER:
			out.Options[1] = "rslave"
		case runtimeapi.MountPropagation_PROPAGATION_BIDIRECTIONAL:
			out.Options[1] = "rshared"
		}
		list = append(list, out)
	}
	slices.SortStableFunc(list, func(a, b specs.Mount) int {
		return strings.Count(a.Destination, "/") - strings.Count(b.Destination, "/")
	})
	return list
}
