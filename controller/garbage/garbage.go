// Package garbage deletes what has lost its owners, and carries out the deletion of owners whose dependents
// are to go first or to be set free.
package garbage

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/lru"

	"github.com/ctlplane/ctlplane/api/resource"
	"github.com/ctlplane/ctlplane/client"
	"github.com/ctlplane/ctlplane/controller/loop"
)

// byOwner is the index of the objects of a kind by the UIDs of their owners.
const byOwner = "owner"

// remembered is how many owners that are known to be no more are kept.
const remembered = 4096

// item is an object of any kind.
type item struct {
	info            *resource.Info
	namespace, name string
}

func (i item) String() string { return fmt.Sprintf("%s %s/%s", i.info.Resource, i.namespace, i.name) }

// Controller is the garbage collector. The informers' indices by owner are its graph of dependents.
//
//  1. An object is deleted only if none of its owners exists. That an owner doesn't is read from the store, or was
//     told by a watch: a cache that is late or doesn't have it yet proves nothing.
//  2. An owner is who has the kind, the name and the UID that a reference gives, in the namespace of the object that
//     bears the reference. One wrong reference therefore says nothing about the owner that others refer to rightly.
//  3. An owner of a kind that this cluster doesn't serve counts as existing: who can't look must not delete.
type Controller struct {
	objects client.Objects
	loop    *loop.Loop[item]
	kinds   map[*resource.Info]cache.Indexer
	byKind  map[schema.GroupKind]*resource.Info
	// absent holds the owners, by identity, that are gone or never were. Identities don't come back, for UIDs don't.
	absent *lru.Cache
	// told holds the references whose wrong namespace has been told.
	told *lru.Cache
}

// New makes the controller over informers that aren't running yet.
func New(informers *client.Informers, objects client.Objects, options loop.Options) *Controller {
	c := &Controller{
		objects: objects,
		kinds:   map[*resource.Info]cache.Indexer{},
		byKind:  map[schema.GroupKind]*resource.Info{},
		absent:  lru.New(remembered),
		told:    lru.New(remembered),
	}
	c.loop = loop.New("garbage", informers, options, c.reconcile)
	for _, info := range resource.All() {
		c.byKind[info.GroupVersionKind().GroupKind()] = info
		if info.Resource == "events" {
			continue // there are many, they end by themselves, and nothing owns them
		}
		c.watch(informers.Of(info), info)
	}
	return c
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx) }

// watch indexes a kind by owner and looks at each object that may be garbage, or hold some up.
func (c *Controller) watch(informer cache.SharedIndexInformer, info *resource.Info) {
	if err := informer.AddIndexers(cache.Indexers{byOwner: ownersOf}); err != nil {
		panic("garbage.New: the informers have been started already: " + err.Error())
	}
	c.kinds[info] = informer.GetIndexer()
	changed := func(obj any) {
		if meta, ok := obj.(client.Object); ok && (len(meta.GetOwnerReferences()) > 0 || held(meta)) {
			c.loop.Add(itemOf(info, meta))
		}
	}
	c.loop.Handle(informer, cache.ResourceEventHandlerFuncs{
		AddFunc:    changed,
		UpdateFunc: func(_, now any) { changed(now) },
		DeleteFunc: func(obj any) {
			last, missed := obj.(cache.DeletedFinalStateUnknown)
			if missed {
				obj = last.Obj
			}
			if meta, ok := obj.(client.Object); ok {
				if !missed { // or else a list was without it, which is no more than a reason to look
					c.absent.Add(identityOf(info, meta), misplaced(false))
				}
				c.gone(info, meta)
			}
		},
	})
}

// gone looks at those who depended on an object, and at those who waited for it to go.
func (c *Controller) gone(info *resource.Info, obj client.Object) {
	for _, dependent := range c.dependents(info, obj) {
		c.loop.Add(dependent.item)
	}
	for _, ref := range obj.GetOwnerReferences() {
		if info, ok := c.kindOf(ref.APIVersion, ref.Kind); ok {
			c.loop.Add(item{info: info, namespace: namespaceFor(info, obj), name: ref.Name})
		}
	}
}

// dependent is an object that has an owner.
type dependent struct {
	item
	obj client.Object
}

// dependents lists the cached objects of all kinds that an object owns.
func (c *Controller) dependents(info *resource.Info, owner client.Object) []dependent {
	var found []dependent
	for kind, indexer := range c.kinds {
		objs, err := indexer.ByIndex(byOwner, string(owner.GetUID()))
		if err != nil {
			continue // every kind has the index since watch
		}
		for _, obj := range objs {
			if meta, ok := obj.(client.Object); ok && len(c.refsTo(meta, info, owner)) > 0 {
				found = append(found, dependent{item: itemOf(kind, meta), obj: meta})
			}
		}
	}
	return found
}

func (c *Controller) reconcile(ctx context.Context, key item) (time.Duration, error) {
	obj, ok := c.cached(key)
	switch {
	case !ok:
		return 0, nil
	case obj.GetDeletionTimestamp() != nil:
		return 0, c.release(ctx, key, obj)
	case len(obj.GetOwnerReferences()) > 0:
		return 0, c.collect(ctx, key, obj)
	}
	return 0, nil
}

func (c *Controller) cached(key item) (client.Object, bool) {
	indexer, ok := c.kinds[key.info]
	if !ok {
		return nil, false
	}
	obj, ok, err := indexer.GetByKey(cache.ObjectName{Namespace: key.namespace, Name: key.name}.String())
	if err != nil || !ok {
		return nil, false
	}
	meta, ok := obj.(client.Object)
	return meta, ok
}

func itemOf(info *resource.Info, obj client.Object) item {
	return item{info: info, namespace: obj.GetNamespace(), name: obj.GetName()}
}

func ownersOf(obj any) ([]string, error) {
	meta, ok := obj.(client.Object)
	if !ok {
		return nil, fmt.Errorf("index %s holds objects, got a %T", byOwner, obj)
	}
	var uids []string
	for _, ref := range meta.GetOwnerReferences() {
		uids = append(uids, string(ref.UID))
	}
	return uids, nil
}
