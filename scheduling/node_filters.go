package scheduling

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
)

// nodeUnschedulable keeps pods from cordoned nodes, unless they tolerate that.
type nodeUnschedulable struct{}

func (nodeUnschedulable) Name() string { return "NodeUnschedulable" }

func (nodeUnschedulable) For(pod *PodInfo) Check {
	cordoned := corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}
	if Tolerates(pod.Pod.Spec.Tolerations, &cordoned) {
		return nil
	}
	reasons := []string{"node(s) were unschedulable"}
	return func(node *NodeInfo) []string {
		if node.Node.Spec.Unschedulable {
			return reasons
		}
		return nil
	}
}

// nodeName holds a pod to the node that it names.
type nodeName struct{}

func (nodeName) Name() string { return "NodeName" }

func (nodeName) For(pod *PodInfo) Check {
	name := pod.Pod.Spec.NodeName
	if name == "" {
		return nil
	}
	reasons := []string{"node(s) didn't match the requested node name"}
	return func(node *NodeInfo) []string {
		if node.Node.Name != name {
			return reasons
		}
		return nil
	}
}

// taintToleration keeps pods from nodes with a taint that they don't tolerate.
type taintToleration struct{}

func (taintToleration) Name() string { return "TaintToleration" }

func (taintToleration) For(pod *PodInfo) Check {
	tolerations := pod.Pod.Spec.Tolerations
	return func(node *NodeInfo) []string {
		for i := range node.Taints {
			taint := &node.Taints[i]
			if taint.Effect != corev1.TaintEffectPreferNoSchedule && !Tolerates(tolerations, taint) {
				return []string{fmt.Sprintf("node(s) had untolerated taint {%s: %s}", taint.Key, taint.Value)}
			}
		}
		return nil
	}
}

// Tolerates says whether one of a pod's tolerations is of a taint.
func Tolerates(tolerations []corev1.Toleration, taint *corev1.Taint) bool {
	return corev1helpers.TolerationsTolerateTaint(klog.Logger{}, tolerations, taint, false)
}

// nodeAffinity holds a pod to the nodes that its node selector and required node affinity match.
type nodeAffinity struct{}

func (nodeAffinity) Name() string { return "NodeAffinity" }

func (nodeAffinity) For(pod *PodInfo) Check {
	affinity := pod.Pod.Spec.Affinity
	required := affinity != nil && affinity.NodeAffinity != nil && affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution != nil
	if !required && len(pod.Pod.Spec.NodeSelector) == 0 {
		return nil
	}
	selector := nodeaffinity.GetRequiredNodeAffinity(pod.Pod)
	reasons := []string{"node(s) didn't match Pod's node affinity/selector"}
	return func(node *NodeInfo) []string {
		if match, err := selector.Match(node.Node); err != nil || !match {
			return reasons
		}
		return nil
	}
}
