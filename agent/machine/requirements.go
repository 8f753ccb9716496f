package machine

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/opencontainers/cgroups"
	"golang.org/x/sys/unix"
	"sigs.k8s.io/knftables"
)

// Least version of Linux for a node: it waits for containers through pidfds that don't block.
const leastMajor, leastMinor = 5, 10

// neededControllers are the cgroup controllers that the limits of pods are enforced by.
var neededControllers = []string{"cpu", "memory", "pids"}

// CheckRequirements tells all that this machine lacks to be a node, each with what to do; nil when it lacks nothing.
func CheckRequirements() error {
	if os.Geteuid() != 0 {
		return errors.New("a node needs root, for containers and its network: run this as root")
	}
	return errors.Join(checkKernel(), checkNftables(), checkCgroups("/proc/cgroups", "/sys/fs/cgroup"), checkMounted(cgroups.IsCgroup2UnifiedMode(), cgroups.FindCgroupMountpoint))
}

// checkMounted looks for the file systems of cgroups of version 1, each controller's own. There are none where this process was
// started in another mount namespace, such as that of "ip netns exec".
func checkMounted(unified bool, mountpoint func(path, controller string) (string, error)) error {
	if unified {
		return nil
	}
	for _, name := range neededControllers {
		if _, err := mountpoint("", name); err != nil {
			return fmt.Errorf("a node needs the cgroup controller %s mounted, as systemd does below /sys/fs/cgroup: %w", name, err)
		}
	}
	return nil
}

func checkKernel() error {
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return fmt.Errorf("ask for the kernel's version: %w", err)
	}
	return checkRelease(unix.ByteSliceToString(name.Release[:]))
}

// checkRelease looks at a kernel's release, such as 6.1.0-13-amd64. One that it can't read passes.
func checkRelease(release string) error {
	majorText, rest, _ := strings.Cut(release, ".")
	minorText := rest[:len(rest)-len(strings.TrimLeft(rest, "0123456789"))]
	major, err := strconv.Atoi(majorText)
	if err != nil {
		return nil
	}
	minor, err := strconv.Atoi(minorText)
	if err != nil {
		return nil
	}
	if major > leastMajor || major == leastMajor && minor >= leastMinor {
		return nil
	}
	return fmt.Errorf("a node needs Linux %d.%d or later, this machine has %s: update the kernel", leastMajor, leastMinor, release)
}

// checkNftables tries the command nft, and the kernel behind it, without changing anything.
func checkNftables() error {
	if _, err := knftables.New(knftables.IPv4Family, "ctlplane-requirements"); err != nil {
		return fmt.Errorf("a node needs nftables, for services and the pods' way out (Debian's package nftables, and a kernel with nf_tables): %w", err)
	}
	return nil
}

// checkCgroups looks for the controllers that pods' limits need: in /proc/cgroups where cgroups are of version 1, in the root
// cgroup where they are of version 2.
func checkCgroups(controllers, root string) error {
	var have []string
	if cgroups.IsCgroup2UnifiedMode() {
		content, err := os.ReadFile(root + "/cgroup.controllers")
		if err != nil {
			return fmt.Errorf("a node needs cgroups, mounted at %s: %w", root, err)
		}
		have = strings.Fields(string(content))
	} else {
		content, err := os.ReadFile(controllers)
		if err != nil {
			return fmt.Errorf("a node needs cgroups: %w", err)
		}
		for line := range strings.Lines(string(content)) {
			// name, hierarchy, number of cgroups, enabled
			if fields := strings.Fields(line); len(fields) == 4 && fields[1] != "0" && fields[3] == "1" {
				have = append(have, fields[0])
			}
		}
	}
	var missing []string
	for _, name := range neededControllers {
		if !slices.Contains(have, name) {
			missing = append(missing, name)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("a node needs the cgroup controllers %s, which this kernel has not enabled: see its boot parameters, such as cgroup_enable=memory",
			strings.Join(missing, ", "))
	}
	return nil
}
