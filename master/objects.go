package master

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/ctlplane/ctlplane/apiserver/auth"
	"github.com/ctlplane/ctlplane/apiserver/registry"
	"github.com/ctlplane/ctlplane/client"
)

// asUser is the registry as one of the master's own parts uses it: in process, under that part's name.
type asUser struct {
	registry *registry.Registry
	user     auth.User
}

var _ client.Objects = asUser{}

func (o asUser) with(ctx context.Context) context.Context { return auth.WithUser(ctx, o.user) }

func (o asUser) Get(ctx context.Context, r schema.GroupVersionResource, namespace, name string, opts metav1.GetOptions) (runtime.Object, error) {
	return o.registry.Get(o.with(ctx), r, namespace, name, opts)
}

func (o asUser) List(ctx context.Context, r schema.GroupVersionResource, namespace string, opts metav1.ListOptions) (runtime.Object, error) {
	return o.registry.List(o.with(ctx), r, namespace, opts)
}

func (o asUser) Watch(ctx context.Context, r schema.GroupVersionResource, namespace string, opts metav1.ListOptions) (watch.Interface, error) {
	return o.registry.Watch(o.with(ctx), r, namespace, opts)
}

func (o asUser) Create(ctx context.Context, r schema.GroupVersionResource, namespace, name, subresource string, obj runtime.Object, opts metav1.CreateOptions) (runtime.Object, error) {
	return o.registry.Create(o.with(ctx), r, namespace, name, subresource, obj, opts)
}

func (o asUser) Update(ctx context.Context, r schema.GroupVersionResource, namespace, name, subresource string, obj runtime.Object, opts metav1.UpdateOptions) (runtime.Object, error) {
	return o.registry.Update(o.with(ctx), r, namespace, name, subresource, obj, opts)
}

func (o asUser) Patch(ctx context.Context, r schema.GroupVersionResource, namespace, name, subresource string, pt types.PatchType, patch []byte, opts metav1.PatchOptions) (runtime.Object, error) {
	return o.registry.Patch(o.with(ctx), r, namespace, name, subresource, pt, patch, opts)
}

func (o asUser) Delete(ctx context.Context, r schema.GroupVersionResource, namespace, name string, opts metav1.DeleteOptions) (runtime.Object, error) {
	return o.registry.Delete(o.with(ctx), r, namespace, name, opts)
}
