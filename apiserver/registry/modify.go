package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// preconditions say which version of an object a write is for.
type preconditions struct {
	uid     *types.UID
	version string // empty: any
}

func (p preconditions) check(q *request, obj Object) error {
	if p.uid != nil && *p.uid != obj.GetUID() {
		//lint:ignore ST1005 clients know the text
		return apierrors.NewConflict(q.kind.GroupResource(), obj.GetName(), fmt.Errorf(
			"Precondition failed: UID in precondition: %v, UID in object meta: %v", *p.uid, obj.GetUID()))
	}
	if p.version != "" && p.version != obj.GetResourceVersion() {
		return conflict(q.kind.GroupResource(), obj.GetName())
	}
	return nil
}

// errGone asks modify to delete the object.
var errGone = errors.New("the object is to be deleted")

// modify writes what change makes of an object, deciding again whenever the object turns out to be
// newer than the version that it decided on. The first decision is on the cached version; an error
// on that one counts only once it is known to be the newest. change must not modify what it gets, for
// others read it, and what it answers must not refer to any part of it; it may be called several times.
// It answers errGone for an object that is to be deleted, and its last state if that isn't the one it got;
// modify then gives the object's last state and errGone.
func (r *Registry) modify(ctx context.Context, q *request, pre preconditions, dryRun bool, change func(old Object) (Object, error)) (Object, error) {
	key := q.kind.key(q.namespace(), q.name())
	current := q.kind.cache.get(key)
	fresh := current == nil
	if fresh {
		var err error
		if current, err = r.read(ctx, q.kind, key); err != nil {
			return nil, err
		}
	}
	for {
		if err := ctx.Err(); err != nil {
			return nil, writeError(err)
		}
		obj, newer, err := r.attempt(ctx, q, key, current, pre, dryRun, fresh, change)
		var last *final
		switch {
		case newer != nil:
			current, fresh = newer.entry, true
			continue
		case err == nil, errors.Is(err, errGone):
			return obj, err
		case errors.As(err, &last):
			return nil, last.error
		case fresh:
			return nil, err
		}
		if current, err = r.read(ctx, q.kind, key); err != nil {
			return nil, err
		}
		fresh = true
	}
}

// version is what an object was found to be: entry is nil when there is none.
type version struct{ entry *entry }

// attempt decides on one version and tries to write. A newer version that was found instead is the
// second result.
func (r *Registry) attempt(ctx context.Context, q *request, key string, current *entry, pre preconditions, dryRun, fresh bool, change func(Object) (Object, error)) (Object, *version, error) {
	if current == nil {
		return nil, nil, q.notFound()
	}
	if err := pre.check(q, current.object); err != nil {
		return nil, nil, err
	}
	obj, err := change(current.object)
	gone := errors.Is(err, errGone)
	if err != nil && !gone {
		return nil, nil, err
	}
	if gone && obj == nil {
		obj = current.object
	}
	m := &mutation{kind: q.kind, key: key, revision: current.revision}
	held := q.kind.claimsOf(current.object)
	if gone {
		m.releases = held
	} else {
		if m.value, err = encodeBounded(obj); err != nil {
			return nil, nil, err
		}
		if unchanged(m.value, current.object) {
			if !fresh {
				return nil, nil, errUnsure
			}
			return current.object, nil, nil
		}
		claims := q.kind.claimsOf(obj)
		m.claims, m.releases = without(claims, held), without(held, claims)
	}
	return r.write(ctx, q, m, current, obj, gone, dryRun, fresh)
}

// errUnsure is an outcome on a cached version that must be seen again on the newest one.
var errUnsure = errors.New("decided on a version that may not be the newest")

func (r *Registry) write(ctx context.Context, q *request, m *mutation, current *entry, obj Object, gone, dryRun, fresh bool) (Object, *version, error) {
	if dryRun {
		if !fresh {
			return nil, nil, errUnsure
		}
		if gone {
			return obj, nil, errGone
		}
		obj.SetResourceVersion(current.object.GetResourceVersion())
		return obj, nil, nil
	}
	revision, refused, err := r.commit(ctx, m)
	switch {
	case err != nil:
		return nil, nil, &final{err}
	case refused == nil && gone:
		return lastState(obj, revision), nil, errGone
	case refused == nil:
		obj.SetResourceVersion(formatRevision(revision))
		return obj, nil, nil
	case !refused.moved && len(refused.taken) > 0:
		return nil, nil, claimTaken(q, refused.taken[0])
	case refused.current == nil:
		return nil, &version{}, nil
	}
	e, err := q.kind.entryOf(m.key, refused.current)
	if err != nil {
		return nil, nil, err
	}
	return nil, &version{e}, nil
}

// final is an error that must not be followed by another attempt.
type final struct{ error }

func (f *final) Unwrap() error { return f.error }

func encodeBounded(obj Object) ([]byte, error) {
	value, err := encode(obj)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	if len(value) > MaxObjectBytes {
		return nil, oversized(len(value))
	}
	return value, nil
}

// unchanged tells whether value is what old is stored as.
func unchanged(value []byte, old Object) bool {
	before, err := encode(old)
	return err == nil && bytes.Equal(value, before)
}

// keepIdentity gives obj the metadata that no update changes.
func keepIdentity(obj, old Object) {
	obj.SetUID(old.GetUID())
	obj.SetCreationTimestamp(old.GetCreationTimestamp())
	obj.SetDeletionTimestamp(old.GetDeletionTimestamp().DeepCopy())
	obj.SetDeletionGracePeriodSeconds(copied(old.GetDeletionGracePeriodSeconds()))
	obj.SetGeneration(old.GetGeneration())
	obj.SetGenerateName(old.GetGenerateName())
	obj.SetSelfLink("")
}

// copied points at a copy of what p points at, if anything.
func copied[T any](p *T) *T {
	if p == nil {
		return nil
	}
	value := *p
	return &value
}

// ended tells whether an object that is being deleted has nothing left that holds it.
func (k *kind) ended(obj metav1.Object) bool {
	if obj.GetDeletionTimestamp() == nil || len(obj.GetFinalizers()) > 0 {
		return false
	}
	if grace := obj.GetDeletionGracePeriodSeconds(); grace != nil && *grace > 0 {
		return false
	}
	return k.heldBack == nil || !k.heldBack(obj.(Object))
}
