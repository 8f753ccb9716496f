package scheduler

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/ctlplane/ctlplane/scheduling/schedulingtest"
)

var (
	testNode       = schedulingtest.Node
	testPod        = schedulingtest.Pod
	list           = schedulingtest.List
	withPort       = schedulingtest.WithPort
	taint          = schedulingtest.Taint
	changed        = schedulingtest.Changed
	requiringZones = schedulingtest.RequiringZones
)

func TestNodeInfoRemovesWhatItAdded(t *testing.T) {
	pod := NewPodInfo(withPort("", 80, ""))
	pod.owner = "o"
	pod.Requests.Extended = map[corev1.ResourceName]int64{"example.com/gpu": 1}
	node := NewNodeInfo(testNode("n"))
	node.add(pod)
	copied := node.clone()
	node.remove(pod)
	if node.Pods != 0 || len(node.Ports) != 0 || len(node.owners) != 0 || node.Requested.Extended["example.com/gpu"] != 0 {
		t.Errorf("after removal the node has %+v", node)
	}
	if copied.Pods != 1 || len(copied.Ports) != 1 || len(copied.owners) != 1 || copied.Requested.Extended["example.com/gpu"] != 1 {
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
