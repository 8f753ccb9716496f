// Package clienttest is a cluster's object API in memory, to test loops and clients without a server.
//
// It answers as the API server does where a loop can tell the difference: resource versions and
// conflicts, watches with history, graceful deletion and finalizers, subresources, patches, and
// errors. It does not default or validate specs, and it authorizes everyone.
package clienttest

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/clock"

	"github.com/ctlplane/ctlplane/api/resource"
	"github.com/ctlplane/ctlplane/client"
)

// RequestHook sees every request before it is served; an error that it returns is the request's answer.
// The resource has its subresource after a slash, as in "pods/binding"; verbs are RBAC's.
type RequestHook func(verb, resource, namespace, name string) error

// Cluster is an in-memory client.Objects.
//
//  1. Every change takes the next resource version; versions are common to all kinds.
//  2. A stored object is never written to, only replaced: what reads and watches return is shared.
//  3. A watch sees each change after its start version once, in order, however slowly it reads.
//
// All methods are safe for concurrent use.
type Cluster struct {
	clock clock.PassiveClock
	seed  maphash.Seed

	mu      sync.Mutex
	version int64
	names   int64 // suffixes given to generateName so far
	tables  map[*resource.Info]*table
	changed chan struct{} // closed and replaced at every change
	hooks   map[int]RequestHook
	hookIDs int
	streams map[*stream]struct{}
}

var _ client.Objects = (*Cluster)(nil)

// New makes an empty cluster on the wall clock.
func New() *Cluster { return NewWithClock(clock.RealClock{}) }

// NewWithClock makes an empty cluster whose time stamps come from c.
func NewWithClock(c clock.PassiveClock) *Cluster {
	return &Cluster{
		clock:   c,
		seed:    maphash.MakeSeed(),
		version: 1,
		tables:  map[*resource.Info]*table{},
		changed: make(chan struct{}),
		hooks:   map[int]RequestHook{},
		streams: map[*stream]struct{}{},
	}
}

// OnRequest adds a hook, which is called outside of the cluster's lock and may make requests itself.
// The returned function takes it away again.
func (c *Cluster) OnRequest(hook RequestHook) (remove func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	id := c.hookIDs
	c.hookIDs++
	c.hooks[id] = hook
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.hooks, id)
	}
}

// Add stores objects as they are, status included, as if they had always been there. It fills in what
// the server owns and the object leaves empty. It panics on an object that can't be stored.
func (c *Cluster) Add(objects ...client.Object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, obj := range objects {
		info, err := resource.Of(obj)
		if err != nil {
			panic("clienttest: " + err.Error())
		}
		obj := obj.DeepCopyObject().(client.Object)
		if _, ok := c.table(info).objects[keyOf(obj)]; ok || obj.GetName() == "" {
			panic(fmt.Sprintf("clienttest: %s %q is there already or has no name", info.Kind, obj.GetName()))
		}
		c.fillServerFields(obj)
		c.commit(info, nil, obj)
	}
}

// ResourceVersion is the version of the last change.
func (c *Cluster) ResourceVersion() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return formatVersion(c.version)
}

// WaitUntil waits until condition holds, trying it again after every change in the cluster.
func (c *Cluster) WaitUntil(ctx context.Context, condition func() bool) error {
	for {
		c.mu.Lock()
		changed := c.changed
		c.mu.Unlock()
		if condition() {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Compact forgets the history of changes: a watch from an older version is answered with 410 Expired.
func (c *Cluster) Compact() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, info := range resource.All() {
		t := c.table(info)
		t.history, t.compacted = nil, c.version
	}
}

// Disconnect ends all watches, as a server that restarts does.
func (c *Cluster) Disconnect() {
	c.mu.Lock()
	streams := make([]*stream, 0, len(c.streams))
	for s := range c.streams {
		streams = append(streams, s)
	}
	c.mu.Unlock()
	for _, s := range streams {
		s.Stop()
	}
}

// Get reads one object.
func (c *Cluster) Get(ctx context.Context, r schema.GroupVersionResource, namespace, name string, _ metav1.GetOptions) (runtime.Object, error) {
	info, err := c.admit(ctx, "get", r, "", namespace, name)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.stored(info, namespace, name)
}

// List reads all objects that the options select, by namespace and name. It ignores limits, as a server may.
func (c *Cluster) List(ctx context.Context, r schema.GroupVersionResource, namespace string, opts metav1.ListOptions) (runtime.Object, error) {
	info, err := c.admit(ctx, "list", r, "", namespace, "")
	if err != nil {
		return nil, err
	}
	selects, err := selection(info, namespace, opts)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	items, version := c.table(info).selected(selects), c.version
	c.mu.Unlock()

	objects := make([]runtime.Object, len(items))
	for i, item := range items {
		objects[i] = item
	}
	list := info.NewList()
	if err := meta.SetList(list, objects); err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return list, meta.NewAccessor().SetResourceVersion(list, formatVersion(version))
}

// admit finds the kind and asks the hooks.
func (c *Cluster) admit(ctx context.Context, verb string, r schema.GroupVersionResource, subresource, namespace, name string) (*resource.Info, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	info, ok := resource.For(r)
	if !ok {
		return nil, &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: 404, Reason: metav1.StatusReasonNotFound,
			Message: "the server could not find the requested resource",
			Details: &metav1.StatusDetails{Group: r.Group, Kind: r.Resource, Name: name},
		}}
	}
	if !info.Namespaced && namespace != "" {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("%s are not namespaced", r.Resource))
	}
	full := r.Resource
	if subresource != "" {
		full += "/" + subresource
	}
	c.mu.Lock()
	hooks := make([]RequestHook, 0, len(c.hooks))
	for id := range c.hookIDs {
		if hook, ok := c.hooks[id]; ok {
			hooks = append(hooks, hook)
		}
	}
	c.mu.Unlock()
	for _, hook := range hooks {
		if err := hook(verb, full, namespace, name); err != nil {
			return nil, err
		}
	}
	return info, nil
}

// stored finds an object; the caller holds the lock.
func (c *Cluster) stored(info *resource.Info, namespace, name string) (client.Object, error) {
	obj, ok := c.table(info).objects[key{namespace, name}]
	if !ok {
		return nil, apierrors.NewNotFound(info.GroupResource(), name)
	}
	return obj, nil
}

// namespaceTerminating tells whether new objects are refused in a namespace; the caller holds the lock.
func (c *Cluster) namespaceTerminating(namespace string) bool {
	info, _ := resource.For(corev1.SchemeGroupVersion.WithResource("namespaces"))
	ns, ok := c.table(info).objects[key{"", namespace}]
	return ok && ns.GetDeletionTimestamp() != nil
}
