package registry

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// Get reads one object: its newest version, or with resource version "0" any version that is at hand.
func (r *Registry) Get(ctx context.Context, gvr schema.GroupVersionResource, namespace, name string, opts metav1.GetOptions) (runtime.Object, error) {
	return r.GetSubresource(ctx, gvr, namespace, name, "", opts)
}

// GetSubresource reads one object as one of its subresources shows it: "status" shows it whole,
// "scale" as an autoscaling/v1 Scale.
func (r *Registry) GetSubresource(ctx context.Context, gvr schema.GroupVersionResource, namespace, name, subresource string, opts metav1.GetOptions) (runtime.Object, error) {
	q, err := r.begin(ctx, "get", gvr, namespace, name, subresource)
	if err != nil {
		return nil, err
	}
	if err := q.needNamespace(); err != nil {
		return nil, err
	}
	e, err := r.readAt(ctx, q.kind, q.kind.key(namespace, name), opts.ResourceVersion)
	if err != nil {
		return nil, err
	}
	if e == nil {
		return nil, q.notFound()
	}
	if subresource == scaleSubresource {
		return scaleOf(e.object)
	}
	return e.object, nil
}

func (r *Registry) readAt(ctx context.Context, k *kind, key, version string) (*entry, error) {
	revision, err := parseVersion(version)
	if err != nil {
		return nil, err
	}
	if version == "" {
		return r.read(ctx, k, key)
	}
	if err := r.reach(ctx, revision); err != nil {
		return nil, err
	}
	return k.cache.getReadable(key)
}

// read finds an object's newest version; nil when there is none.
func (r *Registry) read(ctx context.Context, k *kind, key string) (*entry, error) {
	resp, err := r.storage.Range(ctx, &pb.RangeRequest{Key: k.storeKey(key)})
	if err != nil {
		return nil, readError(err)
	}
	if len(resp.Kvs) == 0 {
		return nil, nil
	}
	return k.entryOf(key, resp.Kvs[0])
}

// readCached finds an object in the cache, and asks the store only for one that is not there.
func (r *Registry) readCached(ctx context.Context, k *kind, key string) (*entry, error) {
	if e := k.cache.get(key); e != nil {
		return e, nil
	}
	return r.read(ctx, k, key)
}

// entryOf gives a stored object decoded; it was already, when the cache has that version.
func (k *kind) entryOf(key string, pair *mvccpb.KeyValue) (*entry, error) {
	if e := k.cache.get(key); e != nil && e.revision == pair.ModRevision {
		return e, nil
	}
	obj, err := k.decode(pair.Value, pair.ModRevision)
	if err != nil {
		return nil, k.notReadable(key, err)
	}
	return &entry{key: key, revision: pair.ModRevision, object: obj}, nil
}

// reach returns once the caches are at revision. One that the store has not got to yet is an error.
func (r *Registry) reach(ctx context.Context, revision int64) error {
	if r.feed.at() >= revision {
		return nil
	}
	current, err := currentRevision(ctx, r.storage)
	if err != nil {
		return err
	}
	if revision > current {
		return tooLarge(revision, current)
	}
	return r.await(ctx, revision)
}

// refresh brings the caches up to all writes that were acknowledged before the call.
func (r *Registry) refresh(ctx context.Context) error {
	current, err := currentRevision(ctx, r.storage)
	if err != nil {
		return err
	}
	return r.await(ctx, current)
}

func (r *Registry) await(ctx context.Context, revision int64) error {
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := r.feed.wait(ctx, revision); err != nil {
		return readError(fmt.Errorf("the object cache has not reached revision %d: %w", revision, err))
	}
	return nil
}
