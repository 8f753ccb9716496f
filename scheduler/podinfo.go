package scheduler

import (
	"encoding/binary"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"

	"github.com/ctlplane/ctlplane/scheduling"
)

// PodInfo is a pod with what placing it takes, computed once. It is not changed after it was made.
type PodInfo struct {
	scheduling.PodInfo
	Priority int32

	scored scheduling.Resources // requests as scores see them: a container that asks for nothing still uses something
	owner  types.UID            // of the controller, whose pods are spread; empty for a pod of its own
	shape  string
}

// What a container that asks for nothing is scored with, as kube-scheduler does.
var assumedRequests = corev1.ResourceList{
	corev1.ResourceCPU:    resource.MustParse("100m"),
	corev1.ResourceMemory: *resource.NewQuantity(200<<20, resource.BinarySI),
}

// NewPodInfo computes what placing the pod takes.
func NewPodInfo(pod *corev1.Pod) *PodInfo {
	p := &PodInfo{
		PodInfo:  scheduling.NewPodInfo(pod),
		Priority: corev1helpers.PodPriority(pod),
		scored:   scheduling.RequestsOf(pod, assumedRequests),
	}
	if owner := metav1.GetControllerOfNoCopy(pod); owner != nil {
		p.owner = owner.UID
	}
	p.shape = p.signature()
	return p
}

// signature is equal for pods that every filter and score treats alike. It holds all that they look
// at; a filter that comes to look at more must add that here.
func (p *PodInfo) signature() string {
	var b []byte
	text := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	number := func(n int64) { b = binary.AppendVarint(b, n) }
	message := func(m interface{ Marshal() ([]byte, error) }) {
		encoded, err := m.Marshal()
		if err != nil {
			encoded = []byte(p.Pod.UID) // alike to no other pod
		}
		text(string(encoded))
	}

	text(string(p.owner))
	text(p.Pod.Spec.NodeName)
	for _, r := range []*scheduling.Resources{&p.Requests, &p.scored} {
		number(r.MilliCPU)
		number(r.Memory)
		number(r.EphemeralStorage)
		number(int64(len(r.Extended)))
		for _, name := range slices.Sorted(maps.Keys(r.Extended)) {
			text(string(name))
			number(r.Extended[name])
		}
	}
	number(int64(len(p.Ports)))
	for _, port := range p.Ports {
		text(port.IP)
		text(string(port.Protocol))
		number(int64(port.Port))
	}
	number(int64(len(p.Pod.Spec.NodeSelector)))
	for _, name := range slices.Sorted(maps.Keys(p.Pod.Spec.NodeSelector)) {
		text(name)
		text(p.Pod.Spec.NodeSelector[name])
	}
	number(int64(len(p.Pod.Spec.Tolerations)))
	for i := range p.Pod.Spec.Tolerations {
		message(&p.Pod.Spec.Tolerations[i])
	}
	if affinity := p.Pod.Spec.Affinity; affinity != nil && affinity.NodeAffinity != nil {
		message(affinity.NodeAffinity)
	}
	return string(b)
}
