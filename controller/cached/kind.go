// Package cached lets a control loop read the shared informers' caches and write through them, such that
// the loop always sees its own writes.
package cached

import (
	"context"
	"slices"
	"sync"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/tools/cache"

	"github.com/ctlplane/ctlplane/api/resource"
	"github.com/ctlplane/ctlplane/client"
)

// Kind reads and writes the objects of kind T.
//
// An informer's cache trails the store. A loop that decides on the cache alone acts twice on one cause:
// it creates a second pod because the first one hasn't come back to it yet. So what was written is laid
// over the cache until the cache has caught up.
//
//  1. A read never shows a state of an object that is older than this Kind's last successful write of it.
//  2. A write is remembered only until the cache has seen the store's version of it, or a newer one.
//  3. Every write carries the resource version (and a delete the UID) of the object that it was decided on.
//  4. What reads return is shared and must not be changed; DeepCopy first.
//
// All methods are safe for concurrent use.
type Kind[T client.Object] struct {
	objects client.Objects
	typed   client.Typed[T]
	gvr     schema.GroupVersionResource
	indexer cache.Indexer

	mu     sync.Mutex
	writes map[string]write[T]
}

// write is an own write that the cache may not have seen.
type write[T client.Object] struct {
	// obj is what the write made of the object; for a deletion, the object that was deleted.
	obj  T
	gone bool
}

// New makes a Kind over the shared informer of T.
func New[T client.Object](informers *client.Informers, objects client.Objects) *Kind[T] {
	var zero T
	info, err := resource.Of(zero)
	if err != nil {
		panic("cached.New: " + err.Error())
	}
	return &Kind[T]{
		objects: objects,
		typed:   client.For[T](objects),
		gvr:     info.GroupVersionResource,
		indexer: client.InformerFor[T](informers).GetIndexer(),
		writes:  map[string]write[T]{},
	}
}

// Get finds one object.
func (k *Kind[T]) Get(namespace, name string) (T, bool) {
	key := keyOf(namespace, name)
	if w, ok := k.unseen()[key]; ok {
		return w.obj, !w.gone
	}
	return k.cached(key)
}

// By lists the objects that an index files under a value.
func (k *Kind[T]) By(index, value string) []T {
	unseen := k.unseen()
	objs, err := k.indexer.ByIndex(index, value)
	if err != nil {
		panic("cached.Kind.By: " + err.Error())
	}
	items := overlay(objs, unseen)
	if len(unseen) == 0 {
		return items
	}
	values := k.indexer.GetIndexers()[index]
	for _, w := range unseen {
		if w.gone {
			continue
		}
		found, err := values(w.obj)
		if err == nil && slices.Contains(found, value) {
			items = append(items, w.obj)
		}
	}
	return items
}

// All lists every object of the kind.
func (k *Kind[T]) All() []T {
	unseen := k.unseen()
	items := overlay[T](k.indexer.List(), unseen)
	for _, w := range unseen {
		if !w.gone {
			items = append(items, w.obj)
		}
	}
	return items
}

// Live reads an object from the store, past the cache.
func (k *Kind[T]) Live(ctx context.Context, namespace, name string) (T, error) {
	return k.typed.Get(ctx, namespace, name)
}

// Create stores a new object.
func (k *Kind[T]) Create(ctx context.Context, obj T) (T, error) {
	return k.wrote(k.typed.Create(ctx, obj))
}

// Update replaces an object that hasn't changed since obj was read.
func (k *Kind[T]) Update(ctx context.Context, obj T) (T, error) {
	return k.wrote(k.typed.Update(ctx, obj))
}

// UpdateStatus replaces the status of an object that hasn't changed since obj was read.
func (k *Kind[T]) UpdateStatus(ctx context.Context, obj T) (T, error) {
	return k.wrote(k.typed.UpdateStatus(ctx, obj))
}

// Delete deletes the object if it is still the one that was read, unchanged. Options may say how; their
// preconditions are replaced.
func (k *Kind[T]) Delete(ctx context.Context, obj T, opts metav1.DeleteOptions) error {
	uid, version := obj.GetUID(), obj.GetResourceVersion()
	opts.Preconditions = &metav1.Preconditions{UID: &uid, ResourceVersion: &version}
	out, err := k.objects.Delete(ctx, k.gvr, obj.GetNamespace(), obj.GetName(), opts)
	if err != nil {
		return err
	}
	w := write[T]{obj: obj, gone: true}
	if marked, ok := out.(T); ok && marked.GetDeletionTimestamp() != nil && newer(marked.GetResourceVersion(), version) {
		w = write[T]{obj: marked}
	}
	k.remember(w)
	return nil
}

func (k *Kind[T]) wrote(obj T, err error) (T, error) {
	if err == nil {
		k.remember(write[T]{obj: obj})
	}
	return obj, err
}

func (k *Kind[T]) remember(w write[T]) {
	key := keyOf(w.obj.GetNamespace(), w.obj.GetName())
	k.mu.Lock()
	defer k.mu.Unlock()
	if before, ok := k.writes[key]; ok && newer(before.obj.GetResourceVersion(), w.obj.GetResourceVersion()) {
		return
	}
	k.writes[key] = w
}

// unseen forgets the writes that the cache has seen and returns the others. It must be called before the
// cache is read: the cache only moves on, so what it has seen now it shows then.
func (k *Kind[T]) unseen() map[string]write[T] {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(k.writes) == 0 {
		return nil
	}
	version := k.indexer.LastStoreSyncResourceVersion()
	unseen := make(map[string]write[T], len(k.writes))
	for key, w := range k.writes {
		if k.seen(key, w, version) {
			delete(k.writes, key)
			continue
		}
		unseen[key] = w
	}
	return unseen
}

// seen tells whether a cache that has reached a version has seen a write. The version at which an object
// was deleted is not known, so a deletion is seen once the cache is past the version that was
// deleted and doesn't show it.
func (k *Kind[T]) seen(key string, w write[T], version string) bool {
	now, ok := k.cached(key)
	if !w.gone {
		return !newer(w.obj.GetResourceVersion(), version) ||
			ok && !newer(w.obj.GetResourceVersion(), now.GetResourceVersion())
	}
	if newer(w.obj.GetResourceVersion(), version) {
		return false
	}
	return !ok || now.GetUID() != w.obj.GetUID() || newer(now.GetResourceVersion(), w.obj.GetResourceVersion())
}

func (k *Kind[T]) cached(key string) (T, bool) {
	var zero T
	obj, ok, err := k.indexer.GetByKey(key)
	if err != nil || !ok {
		return zero, false
	}
	t, ok := obj.(T)
	return t, ok
}

// overlay is the cached objects without those that were written since.
func overlay[T client.Object](objs []any, unseen map[string]write[T]) []T {
	items := make([]T, 0, len(objs))
	for _, obj := range objs {
		t, ok := obj.(T)
		if !ok {
			continue
		}
		if len(unseen) > 0 {
			if _, ok := unseen[keyOf(t.GetNamespace(), t.GetName())]; ok {
				continue
			}
		}
		items = append(items, t)
	}
	return items
}

// newer tells whether version a is after b. Before the first list b is empty, and everything is newer.
func newer(a, b string) bool {
	order, err := resourceversion.CompareResourceVersion(a, b)
	return err != nil || order > 0
}

func keyOf(namespace, name string) string {
	return cache.ObjectName(types.NamespacedName{Namespace: namespace, Name: name}).String()
}
