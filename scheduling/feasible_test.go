package scheduling_test

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/scheduling"
	. "github.com/ctlplane/ctlplane/scheduling/schedulingtest"
)

func TestFeasible(t *testing.T) {
	full := make([]*corev1.Pod, 10)
	for i := range full {
		full[i] = Pod("p" + string(rune('0'+i)))
	}
	for _, tc := range []struct {
		name string
		pod  *corev1.Pod
		node *corev1.Node
		has  []*corev1.Pod
		want []string
	}{
		{name: "an empty node", pod: Pod("a", "cpu", "4", "memory", "8Gi"), node: Node("n")},

		{name: "NodeName of another", pod: Changed(Pod("a"), func(s *corev1.PodSpec) { s.NodeName = "m" }), node: Node("n"),
			want: []string{"node(s) didn't match the requested node name"}},
		{name: "NodeName", pod: Changed(Pod("a"), func(s *corev1.PodSpec) { s.NodeName = "n" }), node: Node("n")},

		{name: "cordoned", pod: Pod("a"), node: Node("n", Cordoned), want: []string{"node(s) were unschedulable"}},
		{name: "cordoned, tolerated", node: Node("n", Cordoned),
			pod: Tolerating(corev1.Toleration{Key: corev1.TaintNodeUnschedulable, Operator: corev1.TolerationOpExists})},

		{name: "taint", pod: Pod("a"), node: Node("n", Taint("team", "blue", corev1.TaintEffectNoSchedule)),
			want: []string{"node(s) had untolerated taint {team: blue}"}},
		{name: "NoExecute taint", pod: Pod("a"), node: Node("n", Taint("team", "blue", corev1.TaintEffectNoExecute)),
			want: []string{"node(s) had untolerated taint {team: blue}"}},
		{name: "taint that prefers", pod: Pod("a"), node: Node("n", Taint("team", "blue", corev1.TaintEffectPreferNoSchedule))},
		{name: "taint, tolerated", node: Node("n", Taint("team", "blue", corev1.TaintEffectNoSchedule)),
			pod: Tolerating(corev1.Toleration{Key: "team", Value: "blue", Effect: corev1.TaintEffectNoSchedule})},
		{name: "taint, tolerated by half", node: Node("n", Taint("team", "blue", corev1.TaintEffectNoSchedule), Taint("x", "", corev1.TaintEffectNoSchedule)),
			pod:  Tolerating(corev1.Toleration{Key: "team", Operator: corev1.TolerationOpExists}),
			want: []string{"node(s) had untolerated taint {x: }"}},
		{name: "not ready", pod: Pod("a"), node: Node("n", Ready(corev1.ConditionFalse)),
			want: []string{"node(s) had untolerated taint {node.kubernetes.io/not-ready: }"}},
		{name: "lost", pod: Pod("a"), node: Node("n", Ready(corev1.ConditionUnknown)),
			want: []string{"node(s) had untolerated taint {node.kubernetes.io/unreachable: }"}},
		{name: "not ready, all tolerated", pod: Tolerating(corev1.Toleration{Operator: corev1.TolerationOpExists}), node: Node("n", Ready(corev1.ConditionFalse))},

		{name: "node selector", pod: Changed(Pod("a"), func(s *corev1.PodSpec) { s.NodeSelector = map[string]string{"zone": "b"} }), node: Node("n"),
			want: []string{"node(s) didn't match Pod's node affinity/selector"}},
		{name: "node selector, matched", pod: Changed(Pod("a"), func(s *corev1.PodSpec) { s.NodeSelector = map[string]string{"zone": "a"} }), node: Node("n")},
		{name: "affinity", pod: RequiringZones(corev1.NodeSelectorOpIn, "b", "c"), node: Node("n"),
			want: []string{"node(s) didn't match Pod's node affinity/selector"}},
		{name: "affinity, matched", pod: RequiringZones(corev1.NodeSelectorOpIn, "b", "a"), node: Node("n")},
		{name: "affinity, excluded", pod: RequiringZones(corev1.NodeSelectorOpNotIn, "a"), node: Node("n"),
			want: []string{"node(s) didn't match Pod's node affinity/selector"}},

		{name: "port", pod: WithPort("", 80, corev1.ProtocolTCP), node: Node("n"), has: []*corev1.Pod{WithPort("127.0.0.1", 80, "")},
			want: []string{"node(s) didn't have free ports for the requested pod ports"}},
		{name: "port of every address", pod: WithPort("127.0.0.1", 80, corev1.ProtocolTCP), node: Node("n"), has: []*corev1.Pod{WithPort("0.0.0.0", 80, "")},
			want: []string{"node(s) didn't have free ports for the requested pod ports"}},
		{name: "port of another address", pod: WithPort("127.0.0.1", 80, corev1.ProtocolTCP), node: Node("n"), has: []*corev1.Pod{WithPort("127.0.0.2", 80, "")}},
		{name: "port of another protocol", pod: WithPort("", 80, corev1.ProtocolUDP), node: Node("n"), has: []*corev1.Pod{WithPort("", 80, corev1.ProtocolTCP)}},

		{name: "cpu", pod: Pod("a", "cpu", "2001m"), node: Node("n"), has: []*corev1.Pod{Pod("b", "cpu", "2")}, want: []string{"Insufficient cpu"}},
		{name: "cpu, just", pod: Pod("a", "cpu", "2"), node: Node("n"), has: []*corev1.Pod{Pod("b", "cpu", "2")}},
		{name: "memory and disk", pod: Pod("a", "memory", "9Gi", "ephemeral-storage", "11Gi"), node: Node("n"),
			want: []string{"Insufficient memory", "Insufficient ephemeral-storage"}},
		{name: "extended", pod: Pod("a", "example.com/gpu", "2"), node: Node("n"), has: []*corev1.Pod{Pod("b", "example.com/gpu", "1")},
			want: []string{"Insufficient example.com/gpu"}},
		{name: "extended that no node has", pod: Pod("a", "example.com/fpga", "1"), node: Node("n"), want: []string{"Insufficient example.com/fpga"}},
		{name: "pods", pod: Pod("a"), node: Node("n"), has: full, want: []string{"Too many pods"}},
		{name: "overhead", pod: Changed(Pod("a", "cpu", "3"), func(s *corev1.PodSpec) { s.Overhead = List("cpu", "2") }), node: Node("n"), want: []string{"Insufficient cpu"}},
		{name: "init container", node: Node("n"), want: []string{"Insufficient cpu"}, pod: Changed(Pod("a", "cpu", "1"), func(s *corev1.PodSpec) {
			s.InitContainers = []corev1.Container{{Name: "init", Resources: corev1.ResourceRequirements{Requests: List("cpu", "5")}}}
		})},
		{name: "sidecar", node: Node("n"), want: []string{"Insufficient cpu"}, pod: withInit(Pod("a", "cpu", "3"), sidecar("2"))},
		{name: "sidecar beside a later init container", node: Node("n"), want: []string{"Insufficient cpu"}, pod: withInit(Pod("a"), sidecar("2"), initContainer("3"))},
		{name: "sidecar after an init container", node: Node("n"), pod: withInit(Pod("a"), initContainer("3"), sidecar("2"))},
		{name: "port of a sidecar", node: Node("n"), has: []*corev1.Pod{WithPort("", 80, "")}, pod: withInit(Pod("a"), sidecarPort(80)),
			want: []string{"node(s) didn't have free ports for the requested pod ports"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ok, reasons := scheduling.Feasible(tc.pod, scheduling.NewNodeInfo(tc.node, tc.has...))
			if !slices.Equal(reasons, tc.want) || ok != (len(tc.want) == 0) {
				t.Errorf("%v %q, expected %q", ok, reasons, tc.want)
			}
		})
	}
}

func withInit(pod *corev1.Pod, containers ...corev1.Container) *corev1.Pod {
	return Changed(pod, func(s *corev1.PodSpec) { s.InitContainers = containers })
}

func initContainer(cpu string) corev1.Container {
	return corev1.Container{Name: "init-" + cpu, Resources: corev1.ResourceRequirements{Requests: List("cpu", cpu)}}
}

func sidecar(cpu string) corev1.Container {
	c := initContainer(cpu)
	c.RestartPolicy = ptr.To(corev1.ContainerRestartPolicyAlways)
	return c
}

func sidecarPort(port int32) corev1.Container {
	c := sidecar("0")
	c.Ports = []corev1.ContainerPort{{HostPort: port, ContainerPort: 80}}
	return c
}
