package cgroup

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/opencontainers/cgroups"
)

// TestSetAndRemove makes a group on this machine, whichever version of cgroups it has, and reads the kernel's files.
func TestSetAndRemove(t *testing.T) {
	path := fmt.Sprintf("/ctltest-cgroup-%d", os.Getpid())
	child := path + "/burstable/pod1"
	t.Cleanup(func() {
		if err := Remove(path); err != nil {
			t.Error(err)
		}
	})
	files := map[string]string{
		"/sys/fs/cgroup/cpu" + child + "/cpu.shares": "512", "/sys/fs/cgroup/cpu" + child + "/cpu.cfs_quota_us": "50000",
		"/sys/fs/cgroup/memory" + child + "/memory.limit_in_bytes": "67108864", "/sys/fs/cgroup/pids" + child + "/pids.max": "100",
	}
	unbounded := map[string]string{"/sys/fs/cgroup/cpu" + child + "/cpu.cfs_quota_us": "-1", "/sys/fs/cgroup/cpu" + child + "/cpu.shares": "2"}
	if cgroups.IsCgroup2UnifiedMode() {
		root := "/sys/fs/cgroup" + child
		files = map[string]string{root + "/cpu.weight": "59", root + "/cpu.max": "50000 100000", root + "/memory.max": "67108864", root + "/pids.max": "100"}
		unbounded = map[string]string{root + "/cpu.max": "max 100000", root + "/memory.max": "max", root + "/cpu.weight": "1"}
	}
	if err := Set(child, Resources{CPUShares: 512, CPUQuota: 50_000, CPUPeriod: 100_000, Memory: 64 << 20, Pids: 100}); err != nil {
		t.Fatal(err)
	}
	expect(t, files)
	if err := Set(child, Resources{CPUShares: 2}); err != nil {
		t.Fatal(err)
	}
	expect(t, unbounded)
	for range 2 {
		if err := Remove(child); err != nil {
			t.Error(err)
		}
	}
	for file := range files {
		if _, err := os.Stat(file); !os.IsNotExist(err) {
			t.Errorf("%s after the removal: %v", file, err)
		}
	}
}

func expect(t *testing.T, files map[string]string) {
	t.Helper()
	for file, want := range files {
		content, err := os.ReadFile(file)
		if got := strings.TrimSpace(string(content)); err != nil || got != want {
			t.Errorf("%s has %q, want %q; %v", file, got, want, err)
		}
	}
}

// TestWeights holds the second version's weights against those of the first: the least, a default share, the most.
func TestWeights(t *testing.T) {
	for shares, weight := range map[uint64]uint64{0: 0, 2: 1, 1024: 100, 262144: 10000} {
		if got := (Resources{CPUShares: shares}).settings().CpuWeight; got != weight {
			t.Errorf("%d shares weigh %d, want %d", shares, got, weight)
		}
	}
	last := uint64(0)
	for shares := uint64(2); shares <= 1<<18; shares *= 2 {
		weight := (Resources{CPUShares: shares}).settings().CpuWeight
		if weight <= last {
			t.Errorf("%d shares weigh %d, half of them %d", shares, weight, last)
		}
		last = weight
	}
}
