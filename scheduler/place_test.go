package scheduler

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/ctlplane/ctlplane/scheduling"
)

// drawNode makes a node of a random size with random labels and taints.
func drawNode(t *rapid.T, name string) *corev1.Node {
	return testNode(name, func(n *corev1.Node) {
		n.Labels["zone"] = rapid.SampledFrom([]string{"a", "b"}).Draw(t, "zone")
		n.Status.Allocatable = list(
			"cpu", fmt.Sprintf("%dm", rapid.IntRange(0, 4000).Draw(t, "cpu")),
			"memory", fmt.Sprintf("%dMi", rapid.IntRange(0, 4000).Draw(t, "memory")),
			"pods", fmt.Sprint(rapid.IntRange(0, 6).Draw(t, "pods")))
		if rapid.Bool().Draw(t, "tainted") {
			taint("team", "blue", rapid.SampledFrom([]corev1.TaintEffect{corev1.TaintEffectNoSchedule, corev1.TaintEffectPreferNoSchedule}).Draw(t, "effect"))(n)
		}
		n.Spec.Unschedulable = rapid.IntRange(0, 4).Draw(t, "cordoned") == 0
	})
}

func drawPod(t *rapid.T) *corev1.Pod {
	pod := testPod("pod",
		"cpu", fmt.Sprintf("%dm", rapid.IntRange(0, 2000).Draw(t, "cpu")),
		"memory", fmt.Sprintf("%dMi", rapid.IntRange(0, 2000).Draw(t, "memory")))
	switch rapid.IntRange(0, 3).Draw(t, "kind") {
	case 0:
		pod.Spec.NodeSelector = map[string]string{"zone": "a"}
	case 1:
		pod.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
	case 2:
		pod.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: int32(rapid.IntRange(1, 2).Draw(t, "port"))}}
	}
	if rapid.Bool().Draw(t, "owned") {
		owned(pod, "web")
	}
	return pod
}

func copies(pod *corev1.Pod, first, n int) []*entry {
	entries := make([]*entry, n)
	for i := range entries {
		one := pod.DeepCopy()
		one.Name = fmt.Sprintf("pod-%d", first+i)
		one.UID = types.UID(one.Name)
		entries[i] = &entry{info: NewPodInfo(one)}
	}
	return entries
}

// TestPlacementProperties holds batches of random pods on random nodes against two rules: no node ever
// gets more than it has, and a pod is left over only when no node can take it.
func TestPlacementProperties(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c, s := newCluster(), newSnapshot()
		nodes := map[string]*corev1.Node{}
		for i := range rapid.IntRange(0, 6).Draw(t, "nodes") {
			node := drawNode(t, fmt.Sprintf("node-%d", i))
			nodes[node.Name] = node
			c.setNode(node)
		}
		on := map[string][]*corev1.Pod{} // kept apart from what is tested
		count := 0
		for range rapid.IntRange(1, 6).Draw(t, "batches") {
			batch := copies(drawPod(t), count, rapid.IntRange(1, 12).Draw(t, "size"))
			count += len(batch)
			c.refresh(s)
			placed, left, why := place(batch, s)
			if len(placed)+len(left) != len(batch) {
				t.Fatalf("of %d pods, %d were placed and %d left", len(batch), len(placed), len(left))
			}
			for _, p := range placed {
				pod := p.entry.info.Pod
				if ok, reasons := scheduling.Feasible(pod, scheduling.NewNodeInfo(nodes[p.node], on[p.node]...)); !ok {
					t.Fatalf("%s was put on %s in spite of %q", pod.Name, p.node, reasons)
				}
				on[p.node] = append(on[p.node], pod)
				if !c.assume(p.entry.info, p.node) {
					t.Fatalf("%s is counted already", pod.Name)
				}
			}
			if len(left) > 0 && why.nodes != len(nodes) {
				t.Fatalf("%d nodes are diagnosed, there are %d", why.nodes, len(nodes))
			}
			if len(left) > 0 {
				for name, node := range nodes {
					if ok, _ := scheduling.Feasible(left[0].info.Pod, scheduling.NewNodeInfo(node, on[name]...)); ok {
						t.Fatalf("%s was left over, and %s could take it: %s", left[0].info.Pod.Name, name, why.message())
					}
				}
			}
			if len(placed) > 0 && rapid.Bool().Draw(t, "fails") {
				// The last binding fails: its room has to be there again.
				last := placed[len(placed)-1]
				on[last.node] = on[last.node][:len(on[last.node])-1]
				c.forget(last.entry.info.Pod.UID)
			}
		}
		c.refresh(s)
		for _, info := range s.nodes {
			want := NewNodeInfo(nodes[info.Node.Name], on[info.Node.Name]...)
			if info.Pods != want.Pods || info.Requested.MilliCPU != want.Requested.MilliCPU || len(info.Ports) != len(want.Ports) {
				t.Fatalf("the snapshot has %d pods with %dm CPU on %s, which has %d with %dm", info.Pods, info.Requested.MilliCPU, info.Node.Name, want.Pods, want.Requested.MilliCPU)
			}
		}
	})
}

// TestBatchEqualsOneByOne: sharing a pass changes nothing in where pods go.
func TestBatchEqualsOneByOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		batched, single := newSnapshot(), newSnapshot()
		for i := range rapid.IntRange(1, 8).Draw(t, "nodes") {
			info := NewNodeInfo(drawNode(t, fmt.Sprintf("node-%d", i)))
			batched.set(info.Node.Name, info)
			single.set(info.Node.Name, info)
		}
		pod, n := drawPod(t), rapid.IntRange(1, 20).Draw(t, "pods")
		placed, left, _ := place(copies(pod, 0, n), batched)
		for i, one := range copies(pod, 0, n) {
			single.start = 0
			got, _, _ := place([]*entry{one}, single)
			if len(got) == 0 && i < len(placed) {
				t.Fatalf("pod %d has no node alone, and %s in the batch", i, placed[i].node)
			}
			if len(got) == 1 && (i >= len(placed) || got[0].node != placed[i].node) {
				t.Fatalf("pod %d goes to %s alone; in the batch %d were placed and %d left", i, got[0].node, len(placed), len(left))
			}
		}
	})
}

func TestEqualNodesTakeTurns(t *testing.T) {
	s := newSnapshot()
	for i := range 4 {
		info := NewNodeInfo(testNode(fmt.Sprintf("node-%d", i)))
		s.set(info.Node.Name, info)
	}
	placed, _, _ := place(copies(testPod("a", "cpu", "1"), 0, 8), s)
	counts := map[string]int{}
	for _, p := range placed {
		counts[p.node]++
	}
	for name, count := range counts {
		if count != 2 {
			t.Errorf("%s has %d pods, expected 2 on each", name, count)
		}
	}
}
