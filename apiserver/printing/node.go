package printing

import (
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var nodeColumns = []metav1.TableColumnDefinition{
	nameColumn,
	text("Status", "Whether the node runs pods, and whether new ones may come to it."),
	text("Roles", "What the node's labels say it is for."),
	ageColumn,
	text("Version", corev1.NodeSystemInfo{}.SwaggerDoc()["kubeletVersion"]),
	wide(text("Internal-IP", corev1.NodeStatus{}.SwaggerDoc()["addresses"])),
	wide(text("External-IP", corev1.NodeStatus{}.SwaggerDoc()["addresses"])),
	wide(text("OS-Image", corev1.NodeSystemInfo{}.SwaggerDoc()["osImage"])),
	wide(text("Kernel-Version", corev1.NodeSystemInfo{}.SwaggerDoc()["kernelVersion"])),
	wide(text("Container-Runtime", corev1.NodeSystemInfo{}.SwaggerDoc()["containerRuntimeVersion"])),
}

func nodeRow(now time.Time, node *corev1.Node) metav1.TableRow {
	system := &node.Status.NodeInfo
	return row(
		node.Name,
		nodeStatus(node),
		nodeRoles(node),
		since(now, node.CreationTimestamp.Time),
		system.KubeletVersion,
		nodeAddress(node, corev1.NodeInternalIP),
		nodeAddress(node, corev1.NodeExternalIP),
		orElse(system.OSImage, unknown),
		orElse(system.KernelVersion, unknown),
		orElse(system.ContainerRuntimeVersion, unknown),
	)
}

func nodeStatus(node *corev1.Node) string {
	status := "Unknown"
	for _, c := range node.Status.Conditions {
		if c.Type != corev1.NodeReady {
			continue
		}
		status = "NotReady"
		if c.Status == corev1.ConditionTrue {
			status = "Ready"
		}
	}
	if node.Spec.Unschedulable {
		status += ",SchedulingDisabled"
	}
	return status
}

// Labels that say what a node is for: the role is what follows the prefix, or the value.
const (
	rolePrefix = "node-role.kubernetes.io/"
	roleLabel  = "kubernetes.io/role"
)

func nodeRoles(node *corev1.Node) string {
	var roles []string
	for key, value := range node.Labels {
		if role, ok := strings.CutPrefix(key, rolePrefix); ok && role != "" {
			roles = append(roles, role)
		} else if key == roleLabel && value != "" {
			roles = append(roles, value)
		}
	}
	slices.Sort(roles)
	return orElse(strings.Join(slices.Compact(roles), ","), none)
}

func nodeAddress(node *corev1.Node, kind corev1.NodeAddressType) string {
	for _, address := range node.Status.Addresses {
		if address.Type == kind {
			return address.Address
		}
	}
	return none
}
