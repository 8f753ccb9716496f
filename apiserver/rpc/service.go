// Package rpc serves the cluster's objects over gRPC: a thin face of the registry, beside REST.
package rpc

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"google.golang.org/grpc"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/ctlplane/ctlplane/api/objectpb"
)

// Objects is what is served; the registry is one. What it returns is shared and is never written to here.
type Objects interface {
	Get(ctx context.Context, r schema.GroupVersionResource, namespace, name string, opts metav1.GetOptions) (runtime.Object, error)
	List(ctx context.Context, r schema.GroupVersionResource, namespace string, opts metav1.ListOptions) (runtime.Object, error)
	Watch(ctx context.Context, r schema.GroupVersionResource, namespace string, opts metav1.ListOptions) (watch.Interface, error)
	Create(ctx context.Context, r schema.GroupVersionResource, namespace, name, subresource string, obj runtime.Object, opts metav1.CreateOptions) (runtime.Object, error)
	Update(ctx context.Context, r schema.GroupVersionResource, namespace, name, subresource string, obj runtime.Object, opts metav1.UpdateOptions) (runtime.Object, error)
	Patch(ctx context.Context, r schema.GroupVersionResource, namespace, name, subresource string, pt types.PatchType, patch []byte, opts metav1.PatchOptions) (runtime.Object, error)
	Delete(ctx context.Context, r schema.GroupVersionResource, namespace, name string, opts metav1.DeleteOptions) (runtime.Object, error)
}

// Authenticate finds out who makes a call and returns a context that says so, or an error: a
// Kubernetes StatusError, or any other, which is answered as Unauthorized.
type Authenticate func(ctx context.Context) (context.Context, error)

// MaxRequestBytes is how large an object or a patch may be as it comes, as over REST. What is stored of it may have less.
const MaxRequestBytes = 3 << 20 // 3 MiB

// envelopeBytes is what a message may have beside an object or a patch.
const envelopeBytes = 64 << 10

// ServerOptions are what a server needs that Register is called on: they come after others that bound messages.
func ServerOptions() []grpc.ServerOption {
	return []grpc.ServerOption{grpc.MaxRecvMsgSize(MaxRequestBytes + envelopeBytes)}
}

// Service is the object service of one gRPC server.
//
//  1. No call reaches the objects before Authenticate has accepted it.
//  2. A watch holds one goroutine, the call's own; Close ends all watches and waits for them.
//  3. An object that several watches send is encoded once (see encodings).
type Service struct {
	objectpb.UnimplementedObjectsServer
	objects      Objects
	authenticate Authenticate
	logger       *slog.Logger
	encodings    *encodings

	closing   chan struct{}
	closeOnce sync.Once
	mu        sync.Mutex // guards watches.Add against a Close that waits
	watches   sync.WaitGroup
}

// Register adds the object service to a server. Close the service before stopping the server
// gracefully: watches would hold that up.
func Register(server grpc.ServiceRegistrar, objects Objects, authenticate Authenticate, logger *slog.Logger) *Service {
	s := &Service{
		objects:      objects,
		authenticate: authenticate,
		logger:       logger,
		encodings:    newEncodings(maxEncodedBytes),
		closing:      make(chan struct{}),
	}
	objectpb.RegisterObjectsServer(server, s)
	return s
}

// Close ends all watches and refuses new ones.
func (s *Service) Close() {
	s.mu.Lock()
	s.closeOnce.Do(func() { close(s.closing) })
	s.mu.Unlock()
	s.watches.Wait()
}

// Get implements the service's Get.
func (s *Service) Get(ctx context.Context, request *objectpb.GetRequest) (*objectpb.ObjectResponse, error) {
	ctx, err := s.admit(ctx)
	if err != nil {
		return nil, err
	}
	var opts metav1.GetOptions
	if err := decodeOptions(request.GetOptions(), &opts); err != nil {
		return nil, err
	}
	if request.GetSubresource() != "" {
		return nil, s.failure(apierrors.NewMethodNotSupported(resourceOf(request.GetResource()).GroupResource(), "get "+request.GetSubresource()))
	}
	return s.object(s.objects.Get(ctx, resourceOf(request.GetResource()), request.GetNamespace(), request.GetName(), opts))
}

// List implements the service's List.
func (s *Service) List(ctx context.Context, request *objectpb.ListRequest) (*objectpb.ListResponse, error) {
	ctx, err := s.admit(ctx)
	if err != nil {
		return nil, err
	}
	var opts metav1.ListOptions
	if err := decodeOptions(request.GetOptions(), &opts); err != nil {
		return nil, err
	}
	list, err := s.objects.List(ctx, resourceOf(request.GetResource()), request.GetNamespace(), opts)
	if err != nil {
		return nil, s.failure(err)
	}
	encoded, err := objectpb.EncodeObject(list)
	if err != nil {
		return nil, s.failure(err)
	}
	return &objectpb.ListResponse{List: encoded}, nil
}

// Create implements the service's Create.
func (s *Service) Create(ctx context.Context, request *objectpb.CreateRequest) (*objectpb.ObjectResponse, error) {
	ctx, err := s.admit(ctx)
	if err != nil {
		return nil, err
	}
	var opts metav1.CreateOptions
	if err := decodeOptions(request.GetOptions(), &opts); err != nil {
		return nil, err
	}
	obj, err := decodeObject(request.GetObject())
	if err != nil {
		return nil, err
	}
	return s.object(s.objects.Create(ctx, resourceOf(request.GetResource()), request.GetNamespace(), request.GetName(), request.GetSubresource(), obj, opts))
}

// Update implements the service's Update.
func (s *Service) Update(ctx context.Context, request *objectpb.UpdateRequest) (*objectpb.ObjectResponse, error) {
	ctx, err := s.admit(ctx)
	if err != nil {
		return nil, err
	}
	var opts metav1.UpdateOptions
	if err := decodeOptions(request.GetOptions(), &opts); err != nil {
		return nil, err
	}
	obj, err := decodeObject(request.GetObject())
	if err != nil {
		return nil, err
	}
	return s.object(s.objects.Update(ctx, resourceOf(request.GetResource()), request.GetNamespace(), request.GetName(), request.GetSubresource(), obj, opts))
}

// Patch implements the service's Patch.
func (s *Service) Patch(ctx context.Context, request *objectpb.PatchRequest) (*objectpb.ObjectResponse, error) {
	ctx, err := s.admit(ctx)
	if err != nil {
		return nil, err
	}
	var opts metav1.PatchOptions
	if err := decodeOptions(request.GetOptions(), &opts); err != nil {
		return nil, err
	}
	if err := checkSize(request.GetPatch()); err != nil {
		return nil, err
	}
	return s.object(s.objects.Patch(ctx, resourceOf(request.GetResource()), request.GetNamespace(), request.GetName(), request.GetSubresource(),
		types.PatchType(request.GetPatchType()), request.GetPatch(), opts))
}

// Delete implements the service's Delete.
func (s *Service) Delete(ctx context.Context, request *objectpb.DeleteRequest) (*objectpb.ObjectResponse, error) {
	ctx, err := s.admit(ctx)
	if err != nil {
		return nil, err
	}
	var opts metav1.DeleteOptions
	if err := decodeOptions(request.GetOptions(), &opts); err != nil {
		return nil, err
	}
	return s.object(s.objects.Delete(ctx, resourceOf(request.GetResource()), request.GetNamespace(), request.GetName(), opts))
}

// admit authenticates a call.
func (s *Service) admit(ctx context.Context) (context.Context, error) {
	admitted, err := s.authenticate(ctx)
	if err == nil {
		return admitted, nil
	}
	if known := apierrors.APIStatus(nil); !errors.As(err, &known) {
		err = apierrors.NewUnauthorized(err.Error())
	}
	return nil, s.failure(err)
}

// object answers a call that gives one object.
func (s *Service) object(obj runtime.Object, err error) (*objectpb.ObjectResponse, error) {
	if err != nil {
		return nil, s.failure(err)
	}
	encoded, err := objectpb.EncodeObject(obj)
	if err != nil {
		return nil, s.failure(err)
	}
	return &objectpb.ObjectResponse{Object: encoded}, nil
}
