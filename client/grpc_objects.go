package client

import (
	"context"
	"fmt"
	"math"

	"google.golang.org/grpc"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/ctlplane/ctlplane/api/objectpb"
)

// Objects gives the cluster's objects through this connection.
//
// Reads get over the loss of an endpoint or leader by themselves. A call that fails on the way, rather
// than at the server, returns a ServiceUnavailable error: the outcome of a write is then unknown. A call
// whose ctx ended returns ctx's error.
func (c *Client) Objects() Objects { return newGRPCObjects(c.etcd.ActiveConnection()) }

// grpcObjects is Objects over the native object service.
type grpcObjects struct {
	rpc objectpb.ObjectsClient
}

var _ Objects = (*grpcObjects)(nil)

func newGRPCObjects(conn grpc.ClientConnInterface) Objects {
	return &grpcObjects{rpc: objectpb.NewObjectsClient(conn)}
}

// anySize lets a list be as long as it is; what a server sends is trusted once it has proved who it is.
var anySize = grpc.MaxCallRecvMsgSize(math.MaxInt32)

func (o *grpcObjects) Get(ctx context.Context, r schema.GroupVersionResource, namespace, name string, opts metav1.GetOptions) (runtime.Object, error) {
	options, err := opts.Marshal()
	if err != nil {
		return nil, badOptions(err)
	}
	return retryRead(ctx, func() (runtime.Object, error) {
		return object(ctx)(o.rpc.Get(ctx, &objectpb.GetRequest{
			Resource: wireResource(r), Namespace: namespace, Name: name, Options: options,
		}, anySize))
	})
}

func (o *grpcObjects) List(ctx context.Context, r schema.GroupVersionResource, namespace string, opts metav1.ListOptions) (runtime.Object, error) {
	request, err := listRequest(r, namespace, opts)
	if err != nil {
		return nil, err
	}
	return retryRead(ctx, func() (runtime.Object, error) {
		response, err := o.rpc.List(ctx, request, anySize)
		if err != nil {
			return nil, fromGRPC(ctx, err)
		}
		return decode(response.GetList())
	})
}

func (o *grpcObjects) Watch(ctx context.Context, r schema.GroupVersionResource, namespace string, opts metav1.ListOptions) (watch.Interface, error) {
	request, err := listRequest(r, namespace, opts)
	if err != nil {
		return nil, err
	}
	return retryRead(ctx, func() (watch.Interface, error) { return openWatch(ctx, o.rpc, request) })
}

func (o *grpcObjects) Create(ctx context.Context, r schema.GroupVersionResource, namespace, name, subresource string, obj runtime.Object, opts metav1.CreateOptions) (runtime.Object, error) {
	options, err := opts.Marshal()
	if err != nil {
		return nil, badOptions(err)
	}
	encoded, err := encode(obj)
	if err != nil {
		return nil, err
	}
	return object(ctx)(o.rpc.Create(ctx, &objectpb.CreateRequest{
		Resource: wireResource(r), Namespace: namespace, Name: name, Subresource: subresource, Object: encoded, Options: options,
	}, anySize))
}

func (o *grpcObjects) Update(ctx context.Context, r schema.GroupVersionResource, namespace, name, subresource string, obj runtime.Object, opts metav1.UpdateOptions) (runtime.Object, error) {
	options, err := opts.Marshal()
	if err != nil {
		return nil, badOptions(err)
	}
	encoded, err := encode(obj)
	if err != nil {
		return nil, err
	}
	return object(ctx)(o.rpc.Update(ctx, &objectpb.UpdateRequest{
		Resource: wireResource(r), Namespace: namespace, Name: name, Subresource: subresource, Object: encoded, Options: options,
	}, anySize))
}

func (o *grpcObjects) Patch(ctx context.Context, r schema.GroupVersionResource, namespace, name, subresource string, pt types.PatchType, patch []byte, opts metav1.PatchOptions) (runtime.Object, error) {
	options, err := opts.Marshal()
	if err != nil {
		return nil, badOptions(err)
	}
	return object(ctx)(o.rpc.Patch(ctx, &objectpb.PatchRequest{
		Resource: wireResource(r), Namespace: namespace, Name: name, Subresource: subresource,
		PatchType: string(pt), Patch: patch, Options: options,
	}, anySize))
}

func (o *grpcObjects) Delete(ctx context.Context, r schema.GroupVersionResource, namespace, name string, opts metav1.DeleteOptions) (runtime.Object, error) {
	options, err := opts.Marshal()
	if err != nil {
		return nil, badOptions(err)
	}
	return object(ctx)(o.rpc.Delete(ctx, &objectpb.DeleteRequest{
		Resource: wireResource(r), Namespace: namespace, Name: name, Options: options,
	}, anySize))
}

// object unpacks the answer of a call that gives one object.
func object(ctx context.Context) func(*objectpb.ObjectResponse, error) (runtime.Object, error) {
	return func(response *objectpb.ObjectResponse, err error) (runtime.Object, error) {
		if err != nil {
			return nil, fromGRPC(ctx, err)
		}
		return decode(response.GetObject())
	}
}

func wireResource(r schema.GroupVersionResource) *objectpb.Resource {
	return &objectpb.Resource{Group: r.Group, Version: r.Version, Resource: r.Resource}
}

func listRequest(r schema.GroupVersionResource, namespace string, opts metav1.ListOptions) (*objectpb.ListRequest, error) {
	options, err := opts.Marshal()
	if err != nil {
		return nil, badOptions(err)
	}
	return &objectpb.ListRequest{Resource: wireResource(r), Namespace: namespace, Options: options}, nil
}

func encode(obj runtime.Object) ([]byte, error) {
	encoded, err := objectpb.EncodeObject(obj)
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	return encoded, nil
}

func decode(data []byte) (runtime.Object, error) {
	obj, err := objectpb.DecodeObject(data)
	if err != nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("the server's answer can't be decoded: %w", err))
	}
	return obj, nil
}

func badOptions(err error) error {
	return apierrors.NewBadRequest(fmt.Sprintf("the options can't be encoded: %v", err))
}
