package pods

import (
	"fmt"
	"log/slog"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"github.com/ctlplane/ctlplane/client/clienttest"
	"github.com/ctlplane/ctlplane/scheduling"
	"github.com/ctlplane/ctlplane/scheduling/schedulingtest"
)

// drawPod is a pod with containers, init containers, sidecars, overhead and host ports.
func drawPod(t *rapid.T, name string) *corev1.Pod {
	pod := schedulingtest.Pod(name)
	draw := func(kind string, n int) corev1.Container {
		c := corev1.Container{Name: fmt.Sprint(kind, n)}
		c.Resources.Requests = schedulingtest.List(
			"cpu", fmt.Sprintf("%dm", rapid.IntRange(0, 1500).Draw(t, "cpu")), "memory", fmt.Sprintf("%dMi", rapid.IntRange(0, 2000).Draw(t, "memory")))
		if rapid.IntRange(0, 3).Draw(t, "with a port") == 0 {
			c.Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: int32(rapid.IntRange(1, 6).Draw(t, "port"))}}
		}
		return c
	}
	pod.Spec.Containers = nil
	for n := range rapid.IntRange(1, 2).Draw(t, "containers") {
		pod.Spec.Containers = append(pod.Spec.Containers, draw("main", n))
	}
	for n := range rapid.IntRange(0, 3).Draw(t, "init containers") {
		c := draw("init", n)
		if rapid.Bool().Draw(t, "sidecar") {
			c.RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
		}
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, c)
	}
	if rapid.Bool().Draw(t, "overhead") {
		pod.Spec.Overhead = schedulingtest.List("cpu", "100m")
	}
	return pod
}

// TestAgentAdmitsWhatTheSchedulerPlaced lets pods come to a node as the scheduler places them, and go, and holds the agent's
// decision against the scheduler's.
func TestAgentAdmitsWhatTheSchedulerPlaced(t *testing.T) {
	node := schedulingtest.Node("node-1")
	rapid.Check(t, func(t *rapid.T) {
		m := New(Config{
			NodeName: "node-1", Objects: clienttest.New(), Allocatable: func() corev1.ResourceList { return node.Status.Allocatable },
			Clock: clock.RealClock{}, Logger: slog.New(slog.DiscardHandler),
		})
		store := m.podInformer.GetStore()
		var here []*corev1.Pod
		for n := range rapid.IntRange(1, 20).Draw(t, "pods") {
			pod := drawPod(t, fmt.Sprint("pod-", n))
			ok, reasons := scheduling.Feasible(pod, scheduling.NewNodeInfo(node, here...))
			if err := store.Add(pod); err != nil {
				t.Fatal(err)
			}
			switch rejected := m.admit(pod, false); {
			case ok && rejected != nil:
				t.Fatalf("the agent refuses what the scheduler placed: %s", rejected.message)
			case !ok && rejected == nil:
				t.Fatalf("the agent admits what the scheduler would not place: %v", reasons)
			case ok:
				here = append(here, pod)
			default: // its end is on its way to the cluster
			}
			if len(here) > 0 && rapid.IntRange(0, 3).Draw(t, "one goes") == 0 {
				gone := here[0]
				here = here[1:]
				if rapid.Bool().Draw(t, "deleted") {
					_ = store.Delete(gone)
				} else {
					ended := gone.DeepCopy()
					ended.Status.Phase = corev1.PodSucceeded
					_ = store.Update(ended)
				}
			}
		}
	})
}

// TestPodsOfAnEarlierAgentKeepTheirRoom restarts the agent, as it were: what has a start time has its room.
func TestPodsOfAnEarlierAgentKeepTheirRoom(t *testing.T) {
	node := schedulingtest.Node("node-1")
	m := New(Config{
		NodeName: "node-1", Objects: clienttest.New(), Allocatable: func() corev1.ResourceList { return node.Status.Allocatable },
		Clock: clock.RealClock{}, Logger: slog.New(slog.DiscardHandler),
	})
	old := schedulingtest.Pod("old", "cpu", "3")
	old.Status.StartTime = &metav1.Time{}
	if err := m.podInformer.GetStore().Add(old); err != nil {
		t.Fatal(err)
	}
	next := schedulingtest.Pod("next", "cpu", "2")
	if r := m.admit(next, false); r == nil || r.reason != "OutOfcpu" {
		t.Errorf("next to a pod with 3 of 4 CPUs, one that asks for 2 gets %+v", r)
	}
	if r := m.admit(old, true); r != nil {
		t.Errorf("a pod that ran before the restart is refused: %s", r.message)
	}
	m.dismissRoom(types.UID("old"))
	if len(m.admission.admitted) != 0 {
		t.Errorf("pods %v are remembered that are gone", m.admission.admitted)
	}
}
