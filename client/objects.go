// Package client is the Go client library of a ctlplane cluster: typed objects, informers, watches,
// key-value access and pipelined writes.
package client

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// Objects is the door to a cluster's objects. Connect gives one over gRPC; inside a master the API
// server's registry is one, in which objects are shared pointers and nothing is copied.
//
//  1. What Get, List and Watch return is read-only: take a DeepCopy before changing it.
//  2. A namespace is empty for cluster-scoped resources, and means all namespaces in List and Watch.
//  3. Errors are Kubernetes' *errors.StatusError, to be told apart with k8s.io/apimachinery's errors.Is….
//
// All methods are safe for concurrent use.
type Objects interface {
	Get(ctx context.Context, r schema.GroupVersionResource, namespace, name string, opts metav1.GetOptions) (runtime.Object, error)
	List(ctx context.Context, r schema.GroupVersionResource, namespace string, opts metav1.ListOptions) (runtime.Object, error)
	Watch(ctx context.Context, r schema.GroupVersionResource, namespace string, opts metav1.ListOptions) (watch.Interface, error)

	// Create stores a new object, or posts obj to a subresource of the object name ("binding").
	// For a plain create name is empty and subresource is empty.
	Create(ctx context.Context, r schema.GroupVersionResource, namespace, name, subresource string, obj runtime.Object, opts metav1.CreateOptions) (runtime.Object, error)
	// Update replaces an object or, with a subresource ("status", "scale"), that part of it.
	Update(ctx context.Context, r schema.GroupVersionResource, namespace, name, subresource string, obj runtime.Object, opts metav1.UpdateOptions) (runtime.Object, error)
	Patch(ctx context.Context, r schema.GroupVersionResource, namespace, name, subresource string, pt types.PatchType, patch []byte, opts metav1.PatchOptions) (runtime.Object, error)
	// Delete removes an object, or marks it as being deleted when it is to end gracefully or has finalizers.
	Delete(ctx context.Context, r schema.GroupVersionResource, namespace, name string, opts metav1.DeleteOptions) (runtime.Object, error)
}
