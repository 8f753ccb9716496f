package agent_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opencontainers/cgroups"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/ctlplane/ctlplane/agent"
)

// TestPodsWeighByWhatTheyAskFor reads the kernel's files of two pods, while they run and when they are gone.
func TestPodsWeighByWhatTheyAskFor(t *testing.T) {
	n := startNode(t)
	busy, idle := n.pod("busy", demoContainer()), n.pod("idle", demoContainer())
	busy.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("250m")}
	busy.Spec.Containers[0].Resources.Limits = corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("64Mi")}
	n.create(busy)
	n.create(idle)
	busy, idle = n.wait("busy", "ready", ready), n.wait("idle", "ready", ready)

	root := agent.CgroupRoot(n.dir)
	cpu, memory, shares, limit := "/sys/fs/cgroup/cpu/"+root, "/sys/fs/cgroup/memory/"+root, "cpu.shares", "memory.limit_in_bytes"
	weights := []string{"256", "2"}
	if cgroups.IsCgroup2UnifiedMode() {
		cpu, memory, shares, limit, weights = "/sys/fs/cgroup/"+root, "/sys/fs/cgroup/"+root, "cpu.weight", "memory.max", []string{"35", "1"}
	}
	pods := []string{filepath.Join(cpu, "burstable", "pod"+string(busy.UID)), filepath.Join(cpu, "besteffort", "pod"+string(idle.UID))}
	for i, dir := range pods {
		for _, group := range []string{dir, filepath.Dir(dir)} {
			content, err := os.ReadFile(filepath.Join(group, shares))
			if got := strings.TrimSpace(string(content)); err != nil || got != weights[i] {
				t.Errorf("%s weighs %q, want %s; %v", group, got, weights[i], err)
			}
		}
	}
	content, err := os.ReadFile(filepath.Join(memory, "burstable", "pod"+string(busy.UID), limit))
	if got := strings.TrimSpace(string(content)); err != nil || got != "67108864" {
		t.Errorf("the pod's memory is bounded by %q, %v", got, err)
	}
	for i, name := range []string{"busy", "idle"} {
		n.delete(name)
		n.wait(name, "gone", func(pod *corev1.Pod) bool { return pod == nil })
		if _, err := os.Stat(pods[i]); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("the group of pod %s outlives it: %v", name, err)
		}
	}
}
