// Package validation refuses objects that make no sense, in Kubernetes' words: clients, tests and
// people recognize its errors. It expects defaulted objects, reads them only, and never panics.
package validation

import (
	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Create says what is wrong with a new object, which has its namespace and its name: one that is to be
// generated must have been.
func Create(obj runtime.Object) field.ErrorList {
	errs := validateMeta(obj)
	switch o := obj.(type) {
	case *corev1.Namespace:
		errs = append(errs, validateNamespace(o)...)
	case *corev1.Node:
		errs = append(errs, validateNode(o)...)
	case *corev1.Pod:
		errs = append(errs, validateNewPod(o)...)
	case *corev1.Service:
		errs = append(errs, validateService(o)...)
	case *corev1.ConfigMap:
		errs = append(errs, validateConfigMap(o)...)
	case *corev1.Secret:
		errs = append(errs, validateSecret(o)...)
	case *corev1.Event:
		errs = append(errs, validateEvent(o)...)
	case *appsv1.Deployment:
		errs = append(errs, validateDeployment(o)...)
	case *appsv1.ReplicaSet:
		errs = append(errs, validateReplicaSet(o)...)
	case *coordinationv1.Lease:
		errs = append(errs, validateLeaseSpec(&o.Spec, field.NewPath("spec"))...)
	case *discoveryv1.EndpointSlice:
		errs = append(errs, validateEndpointSlice(o)...)
	}
	return errs
}

// Update says what is wrong with replacing old by obj: the new object by itself, and changes of what
// must not change. Status is not looked at. Both must be of one type.
func Update(obj, old runtime.Object) field.ErrorList {
	errs := validateMetaUpdate(obj, old)
	switch o := obj.(type) {
	case *corev1.Namespace:
		return append(errs, validateNamespace(o)...)
	case *corev1.Node:
		return append(errs, updateOf(validateNodeUpdate, o, old)...)
	case *corev1.Pod:
		return append(errs, updateOf(validatePodUpdate, o, old)...)
	case *corev1.Service:
		return append(errs, updateOf(validateServiceUpdate, o, old)...)
	case *corev1.ConfigMap:
		return append(errs, updateOf(validateConfigMapUpdate, o, old)...)
	case *corev1.Secret:
		return append(errs, updateOf(validateSecretUpdate, o, old)...)
	case *corev1.Event:
		return append(errs, updateOf(validateEventUpdate, o, old)...)
	case *appsv1.Deployment:
		return append(errs, updateOf(validateDeploymentUpdate, o, old)...)
	case *appsv1.ReplicaSet:
		return append(errs, updateOf(validateReplicaSetUpdate, o, old)...)
	case *coordinationv1.Lease:
		return append(errs, updateOf(validateLeaseUpdate, o, old)...)
	case *discoveryv1.EndpointSlice:
		return append(errs, updateOf(validateEndpointSliceUpdate, o, old)...)
	}
	return errs
}

// UpdateStatus says what is wrong with replacing old by obj through the subresource status. The
// caller has taken everything but the status, and what of the metadata a status may change, from old.
func UpdateStatus(obj, old runtime.Object) field.ErrorList {
	errs := validateMetaUpdate(obj, old)
	switch o := obj.(type) {
	case *corev1.Node:
		return append(errs, updateOf(validateNodeStatusUpdate, o, old)...)
	case *corev1.Pod:
		return append(errs, updateOf(validatePodStatusUpdate, o, old)...)
	case *corev1.Service:
		return append(errs, validateLoadBalancerStatus(&o.Status.LoadBalancer, field.NewPath("status", "loadBalancer"))...)
	case *corev1.Namespace:
		return append(errs, updateOf(validateNamespaceStatusUpdate, o, old)...)
	case *appsv1.Deployment:
		return append(errs, updateOf(validateDeploymentStatusUpdate, o, old)...)
	case *appsv1.ReplicaSet:
		return append(errs, updateOf(validateReplicaSetStatusUpdate, o, old)...)
	}
	return errs
}

// updateOf calls validate if old is of obj's type, and refuses the change of type if not.
func updateOf[T runtime.Object](validate func(obj, old T) field.ErrorList, obj T, old runtime.Object) field.ErrorList {
	typed, ok := old.(T)
	if !ok {
		return field.ErrorList{field.Forbidden(nil, "an object can't become one of another kind")}
	}
	return validate(obj, typed)
}
