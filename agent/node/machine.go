package node

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// maxPods is how many pods a node takes.
const maxPods = 110

// Capacity is what this machine has: processors, memory, room for pods and, on the file system of dir, disk.
func Capacity(dir string) (corev1.ResourceList, error) {
	memory, err := memoryInfo()
	if err != nil {
		return nil, err
	}
	disk, err := diskOf(dir)
	if err != nil {
		return nil, err
	}
	return corev1.ResourceList{
		corev1.ResourceCPU:              *resource.NewQuantity(int64(runtime.NumCPU()), resource.DecimalSI),
		corev1.ResourceMemory:           *resource.NewQuantity(memory["MemTotal"], resource.BinarySI),
		corev1.ResourceEphemeralStorage: *resource.NewQuantity(disk.total, resource.BinarySI),
		corev1.ResourcePods:             *resource.NewQuantity(maxPods, resource.DecimalSI),
	}, nil
}

// memoryInfo is /proc/meminfo in bytes.
func memoryInfo() (map[string]int64, error) {
	data, err := os.ReadFile("/proc/meminfo")
	if err != nil {
		return nil, err
	}
	values := map[string]int64{}
	lines := bufio.NewScanner(bytes.NewReader(data))
	for lines.Scan() {
		name, rest, ok := strings.Cut(lines.Text(), ":")
		fields := strings.Fields(rest)
		if !ok || len(fields) == 0 {
			continue
		}
		if n, err := strconv.ParseInt(fields[0], 10, 64); err == nil {
			values[name] = n << 10
		}
	}
	if values["MemTotal"] == 0 {
		return nil, fmt.Errorf("/proc/meminfo does not say how much memory there is")
	}
	return values, nil
}

type disk struct{ total, available int64 }

func diskOf(dir string) (disk, error) {
	var stat unix.Statfs_t
	if err := unix.Statfs(dir, &stat); err != nil {
		return disk{}, fmt.Errorf("size of the file system of %s: %w", dir, err)
	}
	return disk{total: int64(stat.Blocks) * stat.Bsize, available: int64(stat.Bavail) * stat.Bsize}, nil
}

// processes is how many threads the machine has and may have.
func processes() (used, limit int64, err error) {
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0, 0, err
	}
	fields := strings.Fields(string(load))
	if len(fields) < 4 {
		return 0, 0, fmt.Errorf("/proc/loadavg has %d fields", len(fields))
	}
	_, total, _ := strings.Cut(fields[3], "/")
	if used, err = strconv.ParseInt(total, 10, 64); err != nil {
		return 0, 0, err
	}
	limit, err = strconv.ParseInt(firstLine("/proc/sys/kernel/pid_max"), 10, 64)
	return used, limit, err
}

func firstLine(path string) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(data), "\n")
	return strings.TrimSpace(line)
}

// systemInfo describes the machine and what runs on it.
func systemInfo(version, runtimeVersion string) corev1.NodeSystemInfo {
	info := corev1.NodeSystemInfo{
		MachineID: firstLine("/etc/machine-id"), SystemUUID: firstLine("/sys/class/dmi/id/product_uuid"),
		BootID: firstLine("/proc/sys/kernel/random/boot_id"), KernelVersion: firstLine("/proc/sys/kernel/osrelease"),
		OSImage: osImage(), ContainerRuntimeVersion: runtimeVersion, KubeletVersion: version,
		OperatingSystem: runtime.GOOS, Architecture: runtime.GOARCH,
	}
	if info.SystemUUID == "" {
		info.SystemUUID = info.MachineID
	}
	return info
}

func osImage() string {
	data, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return "Linux"
	}
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), "PRETTY_NAME="); ok {
			return strings.Trim(value, `"`)
		}
	}
	return "Linux"
}
