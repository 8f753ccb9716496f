package scheduler

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
)

func owned(pod *corev1.Pod, owner string) *corev1.Pod {
	pod.OwnerReferences = []metav1.OwnerReference{{Kind: "ReplicaSet", UID: types.UID(owner), Name: owner, Controller: ptr.To(true)}}
	return pod
}

func preferringZone(zone string) *corev1.Pod {
	return changed(testPod("zonal"), func(s *corev1.PodSpec) {
		s.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{PreferredDuringSchedulingIgnoredDuringExecution: []corev1.PreferredSchedulingTerm{{
			Weight:     5,
			Preference: corev1.NodeSelectorTerm{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "zone", Operator: corev1.NodeSelectorOpIn, Values: []string{zone}}}},
		}}}}
	})
}

func TestScorersPrefer(t *testing.T) {
	inZoneB := func(n *corev1.Node) { n.Labels["zone"] = "b" }
	for _, tc := range []struct {
		scorer        Scorer
		pod           *corev1.Pod
		better, worse *NodeInfo
	}{
		{leastAllocated{}, testPod("a", "cpu", "1"),
			NewNodeInfo(testNode("n")), NewNodeInfo(testNode("n"), testPod("b", "cpu", "1", "memory", "1Gi"))},
		{leastAllocated{}, testPod("a"), // a pod that asks for nothing takes something all the same
			NewNodeInfo(testNode("n")), NewNodeInfo(testNode("n"), testPod("b"))},
		{balancedAllocation{}, testPod("a", "cpu", "1", "memory", "2Gi"),
			NewNodeInfo(testNode("n")), NewNodeInfo(testNode("n"), testPod("b", "cpu", "2", "memory", "1Mi"))},
		{ownerSpread{}, owned(testPod("a"), "web"),
			NewNodeInfo(testNode("n"), testPod("b"), testPod("c")), NewNodeInfo(testNode("n"), owned(testPod("b"), "web"))},
		{preferredTaints{}, testPod("a"),
			NewNodeInfo(testNode("n")), NewNodeInfo(testNode("n", taint("team", "blue", corev1.TaintEffectPreferNoSchedule)))},
		{preferredAffinity{}, preferringZone("b"),
			NewNodeInfo(testNode("n", inZoneB)), NewNodeInfo(testNode("n"))},
	} {
		score := tc.scorer.For(NewPodInfo(tc.pod))
		better, worse := score(tc.better), score(tc.worse)
		if better <= worse || better > maxScore || worse < 0 {
			t.Errorf("%s: the better node has %v, the worse %v", tc.scorer.Name(), better, worse)
		}
	}
}
