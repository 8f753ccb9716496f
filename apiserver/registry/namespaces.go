package registry

import (
	"context"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// systemNamespaces are there from the first start and can't be deleted, but for the node leases'.
var systemNamespaces = []string{
	metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease,
}

// prepareNamespace makes a new namespace active, and holds it at its deletion until it is empty.
func prepareNamespace(obj Object) {
	namespace := obj.(*corev1.Namespace)
	namespace.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceActive}
	if !slices.Contains(namespace.Spec.Finalizers, corev1.FinalizerKubernetes) {
		namespace.Spec.Finalizers = append(namespace.Spec.Finalizers, corev1.FinalizerKubernetes)
	}
	metav1.SetMetaDataLabel(&namespace.ObjectMeta, corev1.LabelMetadataName, namespace.Name)
}

func keepNamespaceFinalizers(obj, old Object) {
	obj.(*corev1.Namespace).Spec.Finalizers = slices.Clone(old.(*corev1.Namespace).Spec.Finalizers)
}

func terminateNamespace(obj Object) {
	obj.(*corev1.Namespace).Status.Phase = corev1.NamespaceTerminating
}

func immortalNamespace(name string) string {
	switch name {
	case metav1.NamespaceDefault, metav1.NamespaceSystem, metav1.NamespacePublic:
		return "this namespace may not be deleted"
	}
	return ""
}

// finalizeNamespace replaces the finalizers in a namespace's spec, and removes a namespace that is
// being deleted and has none left.
func finalizeNamespace(obj, old Object) Object {
	fresh := old.(*corev1.Namespace).DeepCopy()
	fresh.Spec.Finalizers = obj.(*corev1.Namespace).Spec.Finalizers
	fresh.ResourceVersion = obj.GetResourceVersion()
	return fresh
}

// openNamespace finds the namespace that a new object goes into: it must be there, and must not be
// terminating. The guard holds the write to that.
func (r *Registry) openNamespace(ctx context.Context, q *request, name string) (guard, error) {
	e, err := r.readCached(ctx, r.namespaces, name)
	if err != nil {
		return guard{}, err
	}
	if e == nil {
		return guard{}, apierrors.NewNotFound(r.namespaces.GroupResource(), q.namespace())
	}
	namespace := e.object.(*corev1.Namespace)
	if namespace.DeletionTimestamp != nil || namespace.Status.Phase == corev1.NamespaceTerminating {
		return guard{}, terminating(q, namespace.Name, name)
	}
	return guard{key: r.namespaces.storeKey(e.key), revision: e.revision}, nil
}

func terminating(q *request, namespace, name string) error {
	err := apierrors.NewForbidden(q.kind.GroupResource(), q.name(), fmt.Errorf(
		"unable to create new content in namespace %s because it is being terminated", namespace))
	cause := metav1.StatusCause{
		Type: corev1.NamespaceTerminatingCause, Field: "metadata.namespace",
		Message: fmt.Sprintf("namespace %s is being terminated", name),
	}
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, cause)
	return err
}
