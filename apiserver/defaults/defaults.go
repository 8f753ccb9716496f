// Package defaults fills in what a manifest may leave out, with the values that Kubernetes gives.
package defaults

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// Apply sets the fields of obj that its author left out. It only fills, it never overrules, and a
// second call changes nothing. An object of a kind without defaults is left as it is. The caller
// owns obj: Apply must not be called on an object that others read.
func Apply(obj runtime.Object) {
	switch o := obj.(type) {
	case *corev1.Namespace:
		applyNamespace(o)
	case *corev1.Node:
		applyNode(o)
	case *corev1.Pod:
		applyPod(o)
	case *corev1.Service:
		applyService(o)
	case *corev1.ConfigMap:
		if o.Data == nil {
			o.Data = map[string]string{}
		}
	case *corev1.Secret:
		applySecret(o)
	case *appsv1.Deployment:
		applyDeployment(o)
	case *appsv1.ReplicaSet:
		setPointer(&o.Spec.Replicas, 1)
		applyPodSpec(&o.Spec.Template.Spec)
	case *discoveryv1.EndpointSlice:
		applyEndpointSlice(o)
	}
}

// set gives *field the value unless it has one.
func set[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// setPointer points *field at a copy of value unless it points somewhere.
func setPointer[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}
