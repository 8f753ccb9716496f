package master

import (
	"context"
	"errors"
	"log/slog"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/ctlplane/ctlplane/apiserver/auth"
	"github.com/ctlplane/ctlplane/apiserver/registry"
	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/supervise"
)

// asUser is the registry as one of the master's own parts uses it: in process, under that part's name. A panic of the registry's is an
// internal error to who called it, as it is over the wire.
type asUser struct {
	registry *registry.Registry
	user     auth.User
	logger   *slog.Logger
}

var _ client.Objects = asUser{}

// ask makes a call of the registry as the user.
func ask[T any](ctx context.Context, o asUser, call func(context.Context) (T, error)) (answer T, err error) {
	err = supervise.Call("registry", o.logger, func() (err error) {
		answer, err = call(auth.WithUser(ctx, o.user))
		return err
	})
	if fault := new(supervise.PanicError); errors.As(err, &fault) {
		err = apierrors.NewInternalError(fault)
	}
	return answer, err
}

func (o asUser) Get(ctx context.Context, r schema.GroupVersionResource, namespace, name string, opts metav1.GetOptions) (runtime.Object, error) {
	return ask(ctx, o, func(ctx context.Context) (runtime.Object, error) {
		return o.registry.Get(ctx, r, namespace, name, opts)
	})
}

func (o asUser) List(ctx context.Context, r schema.GroupVersionResource, namespace string, opts metav1.ListOptions) (runtime.Object, error) {
	return ask(ctx, o, func(ctx context.Context) (runtime.Object, error) { return o.registry.List(ctx, r, namespace, opts) })
}

func (o asUser) Watch(ctx context.Context, r schema.GroupVersionResource, namespace string, opts metav1.ListOptions) (watch.Interface, error) {
	return ask(ctx, o, func(ctx context.Context) (watch.Interface, error) { return o.registry.Watch(ctx, r, namespace, opts) })
}

func (o asUser) Create(ctx context.Context, r schema.GroupVersionResource, namespace, name, subresource string, obj runtime.Object, opts metav1.CreateOptions) (runtime.Object, error) {
	return ask(ctx, o, func(ctx context.Context) (runtime.Object, error) {
		return o.registry.Create(ctx, r, namespace, name, subresource, obj, opts)
	})
}

func (o asUser) Update(ctx context.Context, r schema.GroupVersionResource, namespace, name, subresource string, obj runtime.Object, opts metav1.UpdateOptions) (runtime.Object, error) {
	return ask(ctx, o, func(ctx context.Context) (runtime.Object, error) {
		return o.registry.Update(ctx, r, namespace, name, subresource, obj, opts)
	})
}

func (o asUser) Patch(ctx context.Context, r schema.GroupVersionResource, namespace, name, subresource string, pt types.PatchType, patch []byte, opts metav1.PatchOptions) (runtime.Object, error) {
	return ask(ctx, o, func(ctx context.Context) (runtime.Object, error) {
		return o.registry.Patch(ctx, r, namespace, name, subresource, pt, patch, opts)
	})
}

func (o asUser) Delete(ctx context.Context, r schema.GroupVersionResource, namespace, name string, opts metav1.DeleteOptions) (runtime.Object, error) {
	return ask(ctx, o, func(ctx context.Context) (runtime.Object, error) {
		return o.registry.Delete(ctx, r, namespace, name, opts)
	})
}
