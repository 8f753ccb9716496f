// Package schedulingtest makes the nodes and pods of scheduling's tests.
package schedulingtest

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Node has 4 CPUs, 8 GiB, 10 GiB of disk, 2 GPUs and room for 10 pods.
func Node(name string, change ...func(*corev1.Node)) *corev1.Node {
	node := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name, "zone": "a"}},
		Status: corev1.NodeStatus{
			Allocatable: List("cpu", "4", "memory", "8Gi", "ephemeral-storage", "10Gi", "example.com/gpu", "2", "pods", "10"),
			Conditions:  []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	}
	for _, f := range change {
		f(node)
	}
	return node
}

// Pod asks for resources, given as names and quantities in turn.
func Pod(name string, requests ...string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: types.UID(name)},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Resources: corev1.ResourceRequirements{Requests: List(requests...)}}}},
	}
}

// List makes a list of names and quantities, given in turn.
func List(pairs ...string) corev1.ResourceList {
	l := corev1.ResourceList{}
	for pair := range slices.Chunk(pairs, 2) {
		l[corev1.ResourceName(pair[0])] = resource.MustParse(pair[1])
	}
	return l
}

// WithPort is a pod with a host port.
func WithPort(ip string, port int32, protocol corev1.Protocol) *corev1.Pod {
	pod := Pod("ports")
	pod.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostIP: ip, HostPort: port, Protocol: protocol, ContainerPort: 80}}
	return pod
}

// Taint taints a node.
func Taint(key, value string, effect corev1.TaintEffect) func(*corev1.Node) {
	return func(n *corev1.Node) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Value: value, Effect: effect})
	}
}

// Ready sets a node's Ready condition.
func Ready(status corev1.ConditionStatus) func(*corev1.Node) {
	return func(n *corev1.Node) { n.Status.Conditions[0].Status = status }
}

// Cordoned makes a node unschedulable.
func Cordoned(n *corev1.Node) { n.Spec.Unschedulable = true }

// Changed changes a pod's spec.
func Changed(pod *corev1.Pod, change func(*corev1.PodSpec)) *corev1.Pod {
	change(&pod.Spec)
	return pod
}

// Tolerating is a pod with tolerations.
func Tolerating(tolerations ...corev1.Toleration) *corev1.Pod {
	return Changed(Pod("tolerant"), func(s *corev1.PodSpec) { s.Tolerations = tolerations })
}

// RequiringZones is a pod whose affinity requires nodes of some zones, or of none of them.
func RequiringZones(operator corev1.NodeSelectorOperator, zones ...string) *corev1.Pod {
	return Changed(Pod("zonal"), func(s *corev1.PodSpec) {
		s.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
			NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchExpressions: []corev1.NodeSelectorRequirement{{Key: "zone", Operator: operator, Values: zones}}}},
		}}}
	})
}
