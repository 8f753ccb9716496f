package scheduler

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

// testNode has 4 CPUs, 8 GiB, 10 GiB of disk, 2 GPUs and room for 10 pods.
func testNode(name string, change ...func(*corev1.Node)) *corev1.Node {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name, "zone": "a"}},
		Status: corev1.NodeStatus{
			Allocatable: list("cpu", "4", "memory", "8Gi", "ephemeral-storage", "10Gi", "example.com/gpu", "2", "pods", "10"),
			Conditions:  []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	}
	for _, f := range change {
		f(node)
	}
	return node
}

// testPod asks for resources, given as names and quantities in turn.
func testPod(name string, requests ...string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Resources: corev1.ResourceRequirements{Requests: list(requests...)}}}},
	}
}

func list(pairs ...string) corev1.ResourceList {
	l := corev1.ResourceList{}
	for pair := range slices.Chunk(pairs, 2) {
		l[corev1.ResourceName(pair[0])] = resource.MustParse(pair[1])
	}
	return l
}

func withPort(ip string, port int32, protocol corev1.Protocol) *corev1.Pod {
	pod := testPod("ports")
	pod.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostIP: ip, HostPort: port, Protocol: protocol, ContainerPort: 80}}
	return pod
}

func taint(key, value string, effect corev1.TaintEffect) func(*corev1.Node) {
	return func(n *corev1.Node) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Value: value, Effect: effect})
	}
}

func ready(status corev1.ConditionStatus) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Status.Conditions[0].Status = status }
}

func cordoned(n *corev1.Node) { n.Spec.Unschedulable = true }

func changed(pod *corev1.Pod, change func(*corev1.PodSpec)) *corev1.Pod {
	change(&pod.Spec)
	return pod
}

func tolerating(tolerations ...corev1.Toleration) *corev1.Pod {
	return changed(testPod("tolerant"), func(s *corev1.PodSpec) { s.Tolerations = tolerations })
}

func requiringZones(operator corev1.NodeSelectorOperator, zones ...string) *corev1.Pod {
	return changed(testPod("zonal"), func(s *corev1.PodSpec) {
		s.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "zone", Operator: operator, Values: zones}}}},
		}}}
	})
}

func TestFeasible(t *testing.T) {
	full := make([]*corev1.Pod, 10)
	for i := range full {
		full[i] = testPod("p" + string(rune('0'+i)))
	}
	for _, tc := range []struct {
		name string
		pod  *corev1.Pod
		node *corev1.Node
		has  []*corev1.Pod
		want []string
	}{
		{name: "an empty node", pod: testPod("a", "cpu", "4", "memory", "8Gi"), node: testNode("n")},

		{name: "NodeName of another", pod: changed(testPod("a"), func(s *corev1.PodSpec) { s.NodeName = "m" }), node: testNode("n"),
			want: []string{"node(s) didn't match the requested node name"}},
		{name: "NodeName", pod: changed(testPod("a"), func(s *corev1.PodSpec) { s.NodeName = "n" }), node: testNode("n")},

		{name: "cordoned", pod: testPod("a"), node: testNode("n", cordoned), want: []string{"node(s) were unschedulable"}},
		{name: "cordoned, tolerated", node: testNode("n", cordoned),
			pod: tolerating(corev1.Toleration{Key: corev1.TaintNodeUnschedulable, Operator: corev1.TolerationOpExists})},

		{name: "taint", pod: testPod("a"), node: testNode("n", taint("team", "blue", corev1.TaintEffectNoSchedule)),
			want: []string{"node(s) had untolerated taint {team: blue}"}},
		{name: "NoExecute taint", pod: testPod("a"), node: testNode("n", taint("team", "blue", corev1.TaintEffectNoExecute)),
			want: []string{"node(s) had untolerated taint {team: blue}"}},
		{name: "taint that prefers", pod: testPod("a"), node: testNode("n", taint("team", "blue", corev1.TaintEffectPreferNoSchedule))},
		{name: "taint, tolerated", node: testNode("n", taint("team", "blue", corev1.TaintEffectNoSchedule)),
			pod: tolerating(corev1.Toleration{Key: "team", Value: "blue", Effect: corev1.TaintEffectNoSchedule})},
		{name: "taint, tolerated by half", node: testNode("n", taint("team", "blue", corev1.TaintEffectNoSchedule), taint("x", "", corev1.TaintEffectNoSchedule)),
			pod:  tolerating(corev1.Toleration{Key: "team", Operator: corev1.TolerationOpExists}),
			want: []string{"node(s) had untolerated taint {x: }"}},
		{name: "not ready", pod: testPod("a"), node: testNode("n", ready(corev1.ConditionFalse)),
			want: []string{"node(s) had untolerated taint {node.kubernetes.io/not-ready: }"}},
		{name: "lost", pod: testPod("a"), node: testNode("n", ready(corev1.ConditionUnknown)),
			want: []string{"node(s) had untolerated taint {node.kubernetes.io/unreachable: }"}},
		{name: "not ready, all tolerated", pod: tolerating(corev1.Toleration{Operator: corev1.TolerationOpExists}), node: testNode("n", ready(corev1.ConditionFalse))},

		{name: "node selector", pod: changed(testPod("a"), func(s *corev1.PodSpec) { s.NodeSelector = map[string]string{"zone": "b"} }), node: testNode("n"),
			want: []string{"node(s) didn't match Pod's node affinity/selector"}},
		{name: "node selector, matched", pod: changed(testPod("a"), func(s *corev1.PodSpec) { s.NodeSelector = map[string]string{"zone": "a"} }), node: testNode("n")},
		{name: "affinity", pod: requiringZones(corev1.NodeSelectorOpIn, "b", "c"), node: testNode("n"),
			want: []string{"node(s) didn't match Pod's node affinity/selector"}},
		{name: "affinity, matched", pod: requiringZones(corev1.NodeSelectorOpIn, "b", "a"), node: testNode("n")},
		{name: "affinity, excluded", pod: requiringZones(corev1.NodeSelectorOpNotIn, "a"), node: testNode("n"),
			want: []string{"node(s) didn't match Pod's node affinity/selector"}},

		{name: "port", pod: withPort("", 80, corev1.ProtocolTCP), node: testNode("n"), has: []*corev1.Pod{withPort("127.0.0.1", 80, "")},
			want: []string{"node(s) didn't have free ports for the requested pod ports"}},
		{name: "port of every address", pod: withPort("127.0.0.1", 80, corev1.ProtocolTCP), node: testNode("n"), has: []*corev1.Pod{withPort("0.0.0.0", 80, "")},
			want: []string{"node(s) didn't have free ports for the requested pod ports"}},
		{name: "port of another address", pod: withPort("127.0.0.1", 80, corev1.ProtocolTCP), node: testNode("n"), has: []*corev1.Pod{withPort("127.0.0.2", 80, "")}},
		{name: "port of another protocol", pod: withPort("", 80, corev1.ProtocolUDP), node: testNode("n"), has: []*corev1.Pod{withPort("", 80, corev1.ProtocolTCP)}},

		{name: "cpu", pod: testPod("a", "cpu", "2001m"), node: testNode("n"), has: []*corev1.Pod{testPod("b", "cpu", "2")}, want: []string{"Insufficient cpu"}},
		{name: "cpu, just", pod: testPod("a", "cpu", "2"), node: testNode("n"), has: []*corev1.Pod{testPod("b", "cpu", "2")}},
		{name: "memory and disk", pod: testPod("a", "memory", "9Gi", "ephemeral-storage", "11Gi"), node: testNode("n"),
			want: []string{"Insufficient memory", "Insufficient ephemeral-storage"}},
		{name: "extended", pod: testPod("a", "example.com/gpu", "2"), node: testNode("n"), has: []*corev1.Pod{testPod("b", "example.com/gpu", "1")},
			want: []string{"Insufficient example.com/gpu"}},
		{name: "extended that no node has", pod: testPod("a", "example.com/fpga", "1"), node: testNode("n"), want: []string{"Insufficient example.com/fpga"}},
		{name: "pods", pod: testPod("a"), node: testNode("n"), has: full, want: []string{"Too many pods"}},
		{name: "overhead", pod: changed(testPod("a", "cpu", "3"), func(s *corev1.PodSpec) { s.Overhead = list("cpu", "2") }), node: testNode("n"), want: []string{"Insufficient cpu"}},
		{name: "init container", node: testNode("n"), want: []string{"Insufficient cpu"}, pod: changed(testPod("a", "cpu", "1"), func(s *corev1.PodSpec) {
			s.InitContainers = []corev1.Container{{Name: "init", Resources: corev1.ResourceRequirements{Requests: list("cpu", "5")}}}
		})},
	} {
		t.Run(tc.name, func(t *testing.T) {
			ok, reasons := Feasible(tc.pod, NewNodeInfo(tc.node, tc.has...))
			if !slices.Equal(reasons, tc.want) || ok != (len(tc.want) == 0) {
				t.Errorf("%v %q, expected %q", ok, reasons, tc.want)
			}
		})
	}
}

func TestNodeInfoRemovesWhatItAdded(t *testing.T) {
	pod := NewPodInfo(withPort("", 80, ""))
	pod.owner = "o"
	pod.Requests.Extended = map[corev1.ResourceName]int64{"example.com/gpu": 1}
	node := NewNodeInfo(testNode("n"))
	node.add(pod)
	copied := node.clone()
	node.remove(pod)
	if node.pods != 0 || len(node.ports) != 0 || len(node.owners) != 0 || node.requested.Extended["example.com/gpu"] != 0 {
		t.Errorf("after removal the node has %+v", node)
	}
	if copied.pods != 1 || len(copied.ports) != 1 || len(copied.owners) != 1 || copied.requested.Extended["example.com/gpu"] != 1 {
		t.Errorf("a clone changed with its original: %+v", copied)
	}
}

func TestDiagnosis(t *testing.T) {
	d := diagnosis{nodes: 3}
	d.reject([]string{"Insufficient memory", "Insufficient cpu"})
	d.reject([]string{"Insufficient cpu"})
	d.reject([]string{"node(s) had untolerated taint {team: blue}"})
	want := "0/3 nodes are available: 1 Insufficient memory, 1 node(s) had untolerated taint {team: blue}, 2 Insufficient cpu."
	if got := d.message(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if got := (&diagnosis{}).message(); got != "no nodes available to schedule pods" {
		t.Errorf("got %s", got)
	}
}

func TestSignature(t *testing.T) {
	base := NewPodInfo(testPod("a", "cpu", "1")).shape
	if other := NewPodInfo(testPod("b", "cpu", "1000m")).shape; other != base {
		t.Error("pods that ask for the same have different shapes")
	}
	owned := testPod("a", "cpu", "1")
	owned.OwnerReferences = []metav1.OwnerReference{{UID: "rs", Controller: ptr.To(true)}}
	for what, pod := range map[string]*corev1.Pod{
		"cpu":         testPod("a", "cpu", "2"),
		"gpu":         testPod("a", "cpu", "1", "example.com/gpu", "1"),
		"owner":       owned,
		"ports":       withPort("", 80, ""),
		"selector":    changed(testPod("a", "cpu", "1"), func(s *corev1.PodSpec) { s.NodeSelector = map[string]string{"zone": "a"} }),
		"tolerations": changed(testPod("a", "cpu", "1"), func(s *corev1.PodSpec) { s.Tolerations = []corev1.Toleration{{Key: "x"}} }),
		"affinity":    changed(testPod("a", "cpu", "1"), func(s *corev1.PodSpec) { s.Affinity = requiringZones(corev1.NodeSelectorOpIn, "a").Spec.Affinity }),
	} {
		if NewPodInfo(pod).shape == base {
			t.Errorf("a pod with other %s has the same shape", what)
		}
	}
}
