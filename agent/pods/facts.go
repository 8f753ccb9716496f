package pods

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// facts gives a pod's own fields and resources to its containers: the downward API.
type facts struct {
	nodeName    string
	nodeIP      string
	allocatable func() corev1.ResourceList
}

// Field is the text of one of a pod's fields.
func (f facts) Field(pod *corev1.Pod, path string) (string, error) {
	if name, key, ok := subscript(path); ok {
		switch name {
		case "metadata.labels":
			return pod.Labels[key], nil
		case "metadata.annotations":
			return pod.Annotations[key], nil
		}
	}
	switch path {
	case "metadata.name":
		return pod.Name, nil
	case "metadata.namespace":
		return pod.Namespace, nil
	case "metadata.uid":
		return string(pod.UID), nil
	case "metadata.labels":
		return formatMap(pod.Labels), nil
	case "metadata.annotations":
		return formatMap(pod.Annotations), nil
	case "spec.nodeName":
		return f.nodeName, nil
	case "spec.serviceAccountName":
		return pod.Spec.ServiceAccountName, nil
	case "status.hostIP", "status.hostIPs":
		return f.nodeIP, nil
	case "status.podIP", "status.podIPs":
		return pod.Status.PodIP, nil
	}
	return "", fmt.Errorf("field path %q is not supported", path)
}

// subscript takes metadata.labels['key'] apart.
func subscript(path string) (name, key string, ok bool) {
	name, rest, found := strings.Cut(path, "['")
	if !found || !strings.HasSuffix(rest, "']") {
		return "", "", false
	}
	return name, strings.TrimSuffix(rest, "']"), true
}

func formatMap(m map[string]string) string {
	var lines []string
	for key, value := range m {
		lines = append(lines, key+"="+strconv.Quote(value))
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// Resource is one of a container's requests or limits, in units of the selector's divisor. A limit that is
// not set is what the node has.
func (f facts) Resource(pod *corev1.Pod, selector *corev1.ResourceFieldSelector, name string) (string, error) {
	i := slices.IndexFunc(allContainers(pod), func(c *corev1.Container) bool { return c.Name == name })
	if i < 0 {
		return "", fmt.Errorf("the pod has no container %q", name)
	}
	c := allContainers(pod)[i]
	side, kind, _ := strings.Cut(selector.Resource, ".")
	var value resource.Quantity
	switch side {
	case "limits":
		value = c.Resources.Limits[corev1.ResourceName(kind)]
		if value.IsZero() {
			value = f.allocatable()[corev1.ResourceName(kind)]
		}
	case "requests":
		value = c.Resources.Requests[corev1.ResourceName(kind)]
	default:
		return "", fmt.Errorf("resource %q is neither limits.… nor requests.…", selector.Resource)
	}
	divisor := selector.Divisor
	if divisor.IsZero() {
		divisor = resource.MustParse("1")
	}
	if corev1.ResourceName(kind) == corev1.ResourceCPU {
		return strconv.FormatInt(int64(math.Ceil(float64(value.MilliValue())/float64(divisor.MilliValue()))), 10), nil
	}
	return strconv.FormatInt(int64(math.Ceil(float64(value.Value())/float64(divisor.Value()))), 10), nil
}
