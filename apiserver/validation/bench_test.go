package validation

import (
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/ctlplane/ctlplane/apiserver/defaults"
)

// BenchmarkPod is what a new pod costs on its way to the store: defaults and validation.
func BenchmarkPod(b *testing.B) {
	pod := &corev1.Pod{}
	pod.Name, pod.Namespace = "web", "default"
	pod.Spec.Containers = []corev1.Container{{Name: "web", Image: "web:1", Ports: []corev1.ContainerPort{{ContainerPort: 80}}}}
	b.ReportAllocs()
	for b.Loop() {
		fresh := pod.DeepCopy()
		defaults.Apply(fresh)
		if errs := Create(fresh); len(errs) > 0 {
			b.Fatal(errs)
		}
	}
}
