package client

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"

	"github.com/ctlplane/ctlplane/api/immutable"
	"github.com/ctlplane/ctlplane/api/resource"
)

// anyVersion is the resource version by which any version will do, however old.
const anyVersion = "0"

// listWatch is the source of an informer: it lists and watches what the store holds. Reflectors that can't begin with
// a watch ask for a list of whatever version is at hand, "0". A master that is cut off has an old one, and whoever takes
// an object for gone that isn't in such a list ends pods that run: the newest version is asked for instead.
func listWatch(objects Objects, info *resource.Info, narrow func(*metav1.ListOptions)) cache.ListerWatcher {
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, opts metav1.ListOptions) (runtime.Object, error) {
			if narrow != nil {
				narrow(&opts)
			}
			if opts.ResourceVersion == anyVersion && opts.ResourceVersionMatch == "" {
				opts.ResourceVersion = ""
			}
			return objects.List(ctx, info.GroupVersionResource, metav1.NamespaceAll, opts)
		},
		WatchFuncWithContext: func(ctx context.Context, opts metav1.ListOptions) (watch.Interface, error) {
			if narrow != nil {
				narrow(&opts)
			}
			return objects.Watch(ctx, info.GroupVersionResource, metav1.NamespaceAll, opts)
		},
	}
}

// NewInformer makes an informer over the kind T, narrowed by options such as a field selector. What it
// holds is shared and must not be changed; the detector of package immutable holds tests to it.
func NewInformer[T Object](objects Objects, narrow func(*metav1.ListOptions)) cache.SharedIndexInformer {
	info := For[T](objects).info
	return newInformer(listWatch(objects, info, narrow), info, cache.Indexers{})
}

func newInformer(source cache.ListerWatcher, info *resource.Info, indexers cache.Indexers) cache.SharedIndexInformer {
	informer := cache.NewSharedIndexInformer(source, info.New(), 0, indexers)
	if immutable.Enabled() {
		if err := informer.SetTransform(watchMutations); err != nil {
			panic(err) // it has been started, and has not
		}
	}
	return informer
}

// watchMutations passes on what an informer is going to hold as it is.
func watchMutations(obj any) (any, error) {
	if object, ok := obj.(runtime.Object); ok {
		immutable.Watch(object)
	}
	return obj, nil
}

// Informers shares one informer a kind among the loops of a process.
//
// Get every informer and add its handlers before Start; after Start the set is fixed. As with NewInformer,
// what they hold must not be changed.
type Informers struct {
	objects   Objects
	informers map[*resource.Info]cache.SharedIndexInformer
}

// NewInformers makes an empty set over objects.
func NewInformers(objects Objects) *Informers {
	return &Informers{objects: objects, informers: map[*resource.Info]cache.SharedIndexInformer{}}
}

// InformerFor gives the set's informer of kind T, with an index by namespace.
func InformerFor[T Object](s *Informers) cache.SharedIndexInformer {
	return s.Of(For[T](s.objects).info)
}

// Of gives the set's informer of a kind that is known at run time only, for loops over resource.All.
func (s *Informers) Of(info *resource.Info) cache.SharedIndexInformer {
	if informer, ok := s.informers[info]; ok {
		return informer
	}
	informer := newInformer(listWatch(s.objects, info, nil), info, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})
	s.informers[info] = informer
	return informer
}

// Run runs all informers until ctx ends and waits for them.
func (s *Informers) Run(ctx context.Context) {
	done := make(chan struct{})
	for _, informer := range s.informers {
		go func() {
			informer.RunWithContext(ctx)
			done <- struct{}{}
		}()
	}
	for range s.informers {
		<-done
	}
}

// WaitForSync waits until every informer has seen the whole of its kind; false when ctx ended first.
func (s *Informers) WaitForSync(ctx context.Context) bool {
	for _, informer := range s.informers {
		if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
			return false
		}
	}
	return true
}
