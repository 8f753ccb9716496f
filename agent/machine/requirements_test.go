package machine

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opencontainers/cgroups"
)

func TestOldKernelIsRefused(t *testing.T) {
	for release, fits := range map[string]bool{
		"5.10": true, "5.10.0-28-amd64": true, "5.11-rc1": true, "6.1.0-13-amd64": true, "10.0.1": true,
		"5.9.16": false, "4.19.0-26-amd64": false, "3.10.0-1160.el7.x86_64": false,
		"": true, "unreadable": true, "6": true, // nobody knows: it is tried
	} {
		err := checkRelease(release)
		if (err == nil) != fits {
			t.Errorf("release %q: %v", release, err)
		}
		if err != nil && !strings.Contains(err.Error(), "Linux 5.10 or later, this machine has "+release) {
			t.Errorf("release %q: the error does not say what to do: %v", release, err)
		}
	}
}

func TestMissingCgroupControllersAreNamed(t *testing.T) {
	dir := t.TempDir()
	present, content := filepath.Join(dir, "cgroups"), "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t3\t7\t1\npids\t0\t1\t1\nmemory\t5\t9\t0\n"
	if cgroups.IsCgroup2UnifiedMode() {
		present, content = filepath.Join(dir, "cgroup.controllers"), "cpuset cpu io\n"
	}
	if err := os.WriteFile(present, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	err := checkCgroups(filepath.Join(dir, "cgroups"), dir)
	if err == nil || !strings.Contains(err.Error(), "controllers memory, pids,") {
		t.Errorf("got %v", err)
	}
}

// TestUnmountedCgroupControllersAreNamed has a mount namespace that lacks the file system of one controller.
func TestUnmountedCgroupControllersAreNamed(t *testing.T) {
	var asked []string
	missing := ""
	find := func(_, controller string) (string, error) {
		asked = append(asked, controller)
		if controller == missing {
			return "", cgroups.NewNotFoundError(controller)
		}
		return "/sys/fs/cgroup/" + controller, nil
	}
	if err := checkMounted(false, find); err != nil || !slices.Equal(asked, neededControllers) {
		t.Errorf("where all are mounted: %v, after a look for %v", err, asked)
	}
	for _, missing = range neededControllers {
		if err := checkMounted(false, find); err == nil || !strings.Contains(err.Error(), "the cgroup controller "+missing+" mounted") {
			t.Errorf("without %s: %v", missing, err)
		}
	}
	if err := checkMounted(true, find); err != nil { // of version 2 there is one file system, which checkCgroups reads
		t.Errorf("with cgroups of version 2: %v", err)
	}
}

func TestMachineWithoutNftIsRefused(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	if err := checkNftables(); err == nil || !strings.Contains(err.Error(), "package nftables") {
		t.Errorf("got %v", err)
	}
}

func TestThisMachineCanBeANode(t *testing.T) {
	if err := CheckRequirements(); err != nil {
		t.Error(err)
	}
}
