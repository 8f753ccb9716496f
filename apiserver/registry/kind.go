package registry

import (
	"context"
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/ctlplane/ctlplane/api/resource"
)

// kind is one kind of object: what it is, how it behaves, and its cache.
type kind struct {
	*resource.Info
	strategy
	prefix    string // of its keys in the store, with the closing slash
	hasStatus bool
	cache     *cache
}

// strategy is how one kind differs from the plain object: a zero strategy is a kind like ConfigMap.
type strategy struct {
	// subresources that the kind has beside itself.
	subresources []string
	// generation tells that metadata.generation counts the changes of what is wanted: the spec.
	generation bool
	// wanted gives the part that generation counts, for kinds without a spec.
	wanted func(obj Object) any
	// expires tells that the object goes by itself some time after it was last written.
	expires bool
	// createOnUpdate tells that an update of an object which isn't there creates it.
	createOnUpdate bool
	// needsVersion tells that an update must carry a resource version.
	needsVersion bool
	// returnsDeleted tells that a deletion answers with the object, not with a status.
	returnsDeleted bool
	// statusOnCreate tells that a new object has the status that its creator gives it.
	statusOnCreate bool
	// labelsWithStatus tells that an update of the status may change labels.
	labelsWithStatus bool
	// fields are those that a field selector may name, beside metadata's.
	fields map[string]func(Object) string
	// prepareCreate sets what a new object has to have before it is defaulted.
	prepareCreate func(obj Object)
	// prepareUpdate keeps what an update must not change. old is only read, and obj must not refer to parts of it.
	prepareUpdate func(obj, old Object)
	// admit is the kind's admission of new objects, after defaulting.
	admit func(ctx context.Context, r *Registry, q *request, obj Object) error
	// grace is the time, in seconds, that an object gets to end; nil: none.
	grace func(obj Object, opts *metav1.DeleteOptions) int64
	// runs tells whether a node has to end what the object stands for; nil: no node has. It goes with grace.
	runs func(obj Object) bool
	// beginDelete is told of an object's first deletion; it may set fields of it.
	beginDelete func(obj Object)
	// heldBack tells that an object which is being deleted has to stay, finalizers aside.
	heldBack func(obj Object) bool
	// immortal gives the reason for which the object of that name may not be deleted; empty: none.
	immortal func(name string) string
	// claims are the values that the object holds for itself in the cluster.
	claims func(obj Object) []claim
	// allocate gives the object values that nobody claims, where it needs some.
	allocate func(ctx context.Context, r *Registry, obj Object) error
}

func newKind(info *resource.Info, history int) (*kind, error) {
	if _, ok := info.New().(Object); !ok {
		return nil, fmt.Errorf("kind %s has no metadata", info.Kind)
	}
	group := info.Group
	if group == "" {
		group = "core"
	}
	k := &kind{
		Info:      info,
		strategy:  strategies[info.GroupResource()],
		prefix:    objectPrefix + group + "/" + info.Resource + "/",
		hasStatus: partOf(info.Example, "Status").IsValid(),
	}
	if k.hasStatus {
		k.subresources = append([]string{statusSubresource}, k.subresources...)
	}
	k.cache = newCache(k, history)
	return k, nil
}

// key is an object's place in its kind.
func (k *kind) key(namespace, name string) string {
	if !k.Namespaced {
		return name
	}
	return namespace + "/" + name
}

// keyOf is key for an object.
func (k *kind) keyOf(obj Object) string { return k.key(obj.GetNamespace(), obj.GetName()) }

// storeKey is the key in the store of the object at key.
func (k *kind) storeKey(key string) []byte { return []byte(k.prefix + key) }

// Subresources lists the subresources that the registry itself serves of a resource.
func (r *Registry) Subresources(info *resource.Info) []string {
	if k, ok := r.kinds[info.GroupVersionResource]; ok {
		return k.subresources
	}
	return nil
}

const (
	statusSubresource   = "status"
	scaleSubresource    = "scale"
	bindingSubresource  = "binding"
	evictionSubresource = "eviction"
	finalizeSubresource = "finalize"
)

// typed makes a function over one Go type a function over objects.
func typed[T Object, R any](f func(T) R) func(Object) R {
	return func(obj Object) R { return f(obj.(T)) }
}

// wantedOf is the part of an object that its generation counts.
func (k *kind) wantedOf(obj Object) any {
	if k.wanted != nil {
		return k.wanted(obj)
	}
	return partOf(obj, "Spec").Interface()
}

// asObject checks that obj is of the kind and gives a copy that the registry may change.
func (k *kind) asObject(obj runtime.Object) (Object, error) {
	got, ok := obj.(Object)
	if !ok || fmt.Sprintf("%T", obj) != fmt.Sprintf("%T", k.Example) {
		return nil, wrongKind(k, obj)
	}
	fresh := deepCopy(got)
	fresh.GetObjectKind().SetGroupVersionKind(k.GroupVersionKind())
	return fresh, nil
}

func typeName(obj runtime.Object) string {
	return strings.TrimPrefix(fmt.Sprintf("%T", obj), "*")
}
