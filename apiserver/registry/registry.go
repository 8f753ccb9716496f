// Package registry keeps the cluster's objects: what may be stored, under which key, who may do it,
// and what readers see. Both faces of the API server, REST and gRPC, and the control loops in the
// master process use it the same way.
package registry

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/utils/clock"

	"github.com/ctlplane/ctlplane/api/resource"
	"github.com/ctlplane/ctlplane/apiserver/auth"
)

// Options are what a registry can be told. The zero value is usable.
type Options struct {
	// Authorizer decides who may do what. Nil: auth.NewAuthorizer over this registry's pods.
	Authorizer auth.Authorizer
	// ServiceCIDR is where services get their addresses from. Zero: 10.43.0.0/16.
	ServiceCIDR netip.Prefix
	// NodePorts is the range of ports that services of type NodePort get. Zero: 30000 to 32767.
	NodePorts PortRange
	// History is how many changes of one kind are held in memory for watches to resume from. A watch
	// that starts further back reads the store. Zero: 10000.
	History int
	// Clock tells the time that objects bear. Nil: the machine's.
	Clock clock.WithTicker
	// Logger is told what an operator should know. Nil: slog's default.
	Logger *slog.Logger
}

// PortRange is a range of ports, both ends included.
type PortRange struct{ First, Last int32 }

func (o *Options) setDefaults() {
	if !o.ServiceCIDR.IsValid() {
		o.ServiceCIDR = netip.MustParsePrefix("10.43.0.0/16")
	}
	if o.NodePorts == (PortRange{}) {
		o.NodePorts = PortRange{First: 30000, Last: 32767}
	}
	if o.History == 0 {
		o.History = 10000
	}
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
}

// Registry is the cluster's objects. Its methods are those of client.Objects, with the same promises:
// what is read is shared and must not be changed.
//
//  1. Every call is a user's, found in its context, and is authorized before anything is read.
//  2. An object is written only if it is still the version that the write was decided on.
//  3. What is stored has passed admission, has its defaults and is valid.
//  4. Reads see every write that was acknowledged before they began, unless they ask for less.
type Registry struct {
	opts    Options
	storage Storage
	kinds   map[schema.GroupVersionResource]*kind
	feed    *feed
	apply   applier
	expiry  expiry

	pods, services, namespaces, accounts *kind

	running  atomic.Bool
	mu       sync.Mutex
	closed   bool
	watching sync.WaitGroup
	ctx      context.Context // ends when Run does
	cancel   context.CancelFunc
}

// New makes a registry over storage. It answers once Run has loaded its caches.
func New(storage Storage, opts Options) (*Registry, error) {
	opts.setDefaults()
	if !opts.ServiceCIDR.Addr().Is4() {
		return nil, fmt.Errorf("the service CIDR %s is not an IPv4 range", opts.ServiceCIDR)
	}
	r := &Registry{opts: opts, storage: storage, kinds: map[schema.GroupVersionResource]*kind{}}
	r.expiry = expiry{storage: storage, clock: opts.Clock}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	var all []*kind
	for _, info := range resource.All() {
		k, err := newKind(info, opts.History)
		if err != nil {
			return nil, err
		}
		r.kinds[info.GroupVersionResource] = k
		all = append(all, k)
	}
	r.pods = r.kinds[corev1.SchemeGroupVersion.WithResource("pods")]
	r.services = r.kinds[corev1.SchemeGroupVersion.WithResource("services")]
	r.namespaces = r.kinds[corev1.SchemeGroupVersion.WithResource("namespaces")]
	r.accounts = r.kinds[corev1.SchemeGroupVersion.WithResource("serviceaccounts")]
	r.feed = newFeed(storage, all, opts.Logger)
	if r.opts.Authorizer == nil {
		r.opts.Authorizer = auth.NewAuthorizer(r)
	}
	return r, nil
}

// Run keeps the registry's caches up to date until ctx ends; then it ends all watches and returns
// once they have. It runs once.
func (r *Registry) Run(ctx context.Context) error {
	if !r.running.CompareAndSwap(false, true) {
		return fmt.Errorf("the registry runs already")
	}
	r.feed.run(ctx)
	r.mu.Lock()
	r.closed = true
	r.mu.Unlock()
	r.cancel()
	r.watching.Wait()
	return nil
}

// Ready tells whether the registry answers.
func (r *Registry) Ready() bool { return r.feed.loaded() }

// WaitReady returns once the registry answers, or with ctx's error.
func (r *Registry) WaitReady(ctx context.Context) error { return r.feed.wait(ctx, 0) }

// PodsOnNode implements auth.Pods.
func (r *Registry) PodsOnNode(node string) []*corev1.Pod {
	var pods []*corev1.Pod
	for _, e := range r.pods.cache.onNode(node) {
		pods = append(pods, e.object.(*corev1.Pod))
	}
	return pods
}

// Pod implements auth.Pods.
func (r *Registry) Pod(namespace, name string) *corev1.Pod {
	if e := r.pods.cache.get(r.pods.key(namespace, name)); e != nil {
		return e.object.(*corev1.Pod)
	}
	return nil
}

// objects is client.Objects' method set, which Registry has; this package must not import client.
type objects interface {
	Get(ctx context.Context, r schema.GroupVersionResource, namespace, name string, opts metav1.GetOptions) (runtime.Object, error)
	List(ctx context.Context, r schema.GroupVersionResource, namespace string, opts metav1.ListOptions) (runtime.Object, error)
	Watch(ctx context.Context, r schema.GroupVersionResource, namespace string, opts metav1.ListOptions) (watch.Interface, error)
	Create(ctx context.Context, r schema.GroupVersionResource, namespace, name, subresource string, obj runtime.Object, opts metav1.CreateOptions) (runtime.Object, error)
	Update(ctx context.Context, r schema.GroupVersionResource, namespace, name, subresource string, obj runtime.Object, opts metav1.UpdateOptions) (runtime.Object, error)
	Patch(ctx context.Context, r schema.GroupVersionResource, namespace, name, subresource string, pt types.PatchType, patch []byte, opts metav1.PatchOptions) (runtime.Object, error)
	Delete(ctx context.Context, r schema.GroupVersionResource, namespace, name string, opts metav1.DeleteOptions) (runtime.Object, error)
}

var _ objects = (*Registry)(nil)
var _ auth.Pods = (*Registry)(nil)

// readyTimeout is how long a request waits for the caches to be loaded.
const readyTimeout = 10 * time.Second
