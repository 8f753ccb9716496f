package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/ctlplane/ctlplane/apiserver/auth"
)

// Delete removes an object, or marks it as being deleted when it is to end gracefully or finalizers
// hold it. It answers the object as it then is, or a Status for a kind whose object nobody needs.
func (r *Registry) Delete(ctx context.Context, gvr schema.GroupVersionResource, namespace, name string, opts metav1.DeleteOptions) (runtime.Object, error) {
	q, err := r.begin(ctx, "delete", gvr, namespace, name, "")
	if err != nil {
		return nil, err
	}
	if err := q.needNamespace(); err != nil {
		return nil, err
	}
	return r.delete(ctx, q, &opts)
}

func (r *Registry) delete(ctx context.Context, q *request, opts *metav1.DeleteOptions) (runtime.Object, error) {
	if err := checkDeleteOptions(opts); err != nil {
		return nil, err
	}
	dryRun := isDryRun(opts.DryRun)
	if q.kind.immortal != nil {
		if reason := q.kind.immortal(q.name()); reason != "" {
			return nil, forbidden(q, reason)
		}
	}
	pre := deletePreconditions(opts)
	var announced Object
	if !dryRun && r.mustAnnounce(q, opts) {
		var err error
		if announced, err = r.announceEnd(ctx, q, pre, opts); err != nil {
			return nil, err
		}
		uid := announced.GetUID()
		pre = preconditions{uid: &uid}
	}
	obj, err := r.modify(ctx, q, pre, dryRun, func(old Object) (Object, error) {
		if err := (auth.NodeRestriction{}).Admit(&q.attributes, nil, old); err != nil {
			return nil, err
		}
		return r.markDeleted(q.kind, old, opts)
	})
	switch {
	case err == nil:
		return obj, nil
	case announced != nil && (apierrors.IsNotFound(err) || apierrors.IsConflict(err)):
		return announced, nil // who had to end it has removed it already
	case !errors.Is(err, errGone):
		return nil, err
	}
	if q.kind.returnsDeleted {
		return obj, nil
	}
	return deletedStatus(q.kind, obj), nil
}

// mustAnnounce tells, as far as the cache knows, whether a deletion takes an object away at once that somebody else has
// to end: that one would learn of the removal alone, and give what it runs the time that the object states.
func (r *Registry) mustAnnounce(q *request, opts *metav1.DeleteOptions) bool {
	if q.kind.runs == nil {
		return false
	}
	if _, isNode := q.attributes.User.Node(); isNode {
		return false // it ended it
	}
	e := q.kind.cache.get(q.kind.key(q.namespace(), q.name()))
	if e == nil || !q.kind.runs(e.object) || q.kind.grace(e.object, opts) > 0 {
		return false
	}
	left := e.object.GetDeletionGracePeriodSeconds()
	return left == nil || *left > 0
}

// announceEnd marks an object as being deleted with no time left. It is removed in the next write.
func (r *Registry) announceEnd(ctx context.Context, q *request, pre preconditions, opts *metav1.DeleteOptions) (Object, error) {
	return r.modify(ctx, q, pre, false, func(old Object) (Object, error) {
		if err := (auth.NodeRestriction{}).Admit(&q.attributes, nil, old); err != nil {
			return nil, err
		}
		marked, err := r.markDeleted(q.kind, old, opts)
		if errors.Is(err, errGone) {
			return marked, nil
		}
		return marked, err
	})
}

func checkDeleteOptions(opts *metav1.DeleteOptions) error {
	return refused("DeleteOptions", validation.ValidateDeleteOptions(opts))
}

func deletePreconditions(opts *metav1.DeleteOptions) preconditions {
	var pre preconditions
	if p := opts.Preconditions; p != nil {
		pre.uid = p.UID
		if p.ResourceVersion != nil {
			pre.version = *p.ResourceVersion
		}
	}
	return pre
}

// markDeleted gives the object as a deletion leaves it, old itself when it changes nothing; and errGone
// when nothing holds the object. The last state of one that could have ended gracefully tells that it got no time.
func (r *Registry) markDeleted(k *kind, old Object, opts *metav1.DeleteOptions) (Object, error) {
	obj := deepCopy(old)
	obj.SetFinalizers(deletionFinalizers(obj.GetFinalizers(), opts))
	var grace int64
	if k.grace != nil {
		grace = k.grace(old, opts)
	}
	now := r.now()
	if began := old.GetDeletionTimestamp(); began == nil {
		ends := metav1.NewTime(now.Add(time.Duration(grace) * time.Second))
		obj.SetDeletionTimestamp(&ends)
		obj.SetDeletionGracePeriodSeconds(&grace)
		if k.beginDelete != nil {
			k.beginDelete(obj)
		}
	} else {
		hasten(obj, *began, grace, opts)
	}
	switch {
	case !k.ended(obj):
		return obj, nil
	case k.grace != nil:
		return obj, errGone
	}
	return nil, errGone
}

// hasten shortens the time that an object which is being deleted has left. It never lengthens it, and
// a deletion that states no period leaves it as it is.
func hasten(obj Object, ends metav1.Time, grace int64, opts *metav1.DeleteOptions) {
	before := obj.GetDeletionGracePeriodSeconds()
	if before == nil || opts.GracePeriodSeconds == nil && grace != 0 || grace >= *before {
		return
	}
	sooner := metav1.NewTime(ends.Add(time.Duration(grace-*before) * time.Second))
	obj.SetDeletionTimestamp(&sooner)
	obj.SetDeletionGracePeriodSeconds(&grace)
}

// deletionFinalizers are an object's finalizers once the caller has said what is to become of its
// dependents.
func deletionFinalizers(finalizers []string, opts *metav1.DeleteOptions) []string {
	var orphan, foreground bool
	switch {
	case opts.PropagationPolicy != nil:
		orphan = *opts.PropagationPolicy == metav1.DeletePropagationOrphan
		foreground = *opts.PropagationPolicy == metav1.DeletePropagationForeground
	//lint:ignore SA1019 older clients send it
	case opts.OrphanDependents != nil:
		//lint:ignore SA1019 as above
		orphan = *opts.OrphanDependents
	default:
		return finalizers
	}
	finalizers = withFinalizer(finalizers, metav1.FinalizerOrphanDependents, orphan)
	return withFinalizer(finalizers, metav1.FinalizerDeleteDependents, foreground)
}

func withFinalizer(finalizers []string, name string, want bool) []string {
	switch has := slices.Contains(finalizers, name); {
	case want && !has:
		return append(slices.Clone(finalizers), name)
	case !want && has:
		return slices.DeleteFunc(slices.Clone(finalizers), func(f string) bool { return f == name })
	}
	return finalizers
}

func deletedStatus(k *kind, obj Object) *metav1.Status {
	return &metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusSuccess,
		Details:  &metav1.StatusDetails{Name: obj.GetName(), Group: k.Group, Kind: k.Resource, UID: obj.GetUID()},
	}
}

// DeleteCollection deletes the objects of a namespace, or of a kind that has no namespaces, that listOpts selects.
// It answers the list of them as they were. There is no deleting across namespaces.
func (r *Registry) DeleteCollection(ctx context.Context, gvr schema.GroupVersionResource, namespace string, opts metav1.DeleteOptions, listOpts metav1.ListOptions) (runtime.Object, error) {
	q, err := r.beginSelection(ctx, "deletecollection", gvr, namespace, &listOpts)
	if err != nil {
		return nil, err
	}
	if q.kind.Namespaced && namespace == "" || !q.kind.DeletesCollection() {
		return nil, apierrors.NewMethodNotSupported(gvr.GroupResource(), "deletecollection")
	}
	if err := checkDeleteOptions(&opts); err != nil { // even where there is nothing to delete
		return nil, err
	}
	page, err := r.list(ctx, q, &listOpts)
	if err != nil {
		return nil, err
	}
	for _, e := range page.entries {
		single := *q.request
		single.attributes.Name = e.object.GetName()
		single.attributes.Namespace = e.object.GetNamespace()
		if _, err := r.delete(ctx, &single, opts.DeepCopy()); err != nil && !apierrors.IsNotFound(err) {
			return nil, err
		}
	}
	return page.object(q.kind), nil
}

// evict deletes a pod in the way that drains a node.
func (r *Registry) evict(ctx context.Context, q *request, eviction *policyv1.Eviction, dryRun []string) (runtime.Object, error) {
	if eviction.Name != "" && eviction.Name != q.name() {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the name of the eviction (%s) is not that of the pod on the URL (%s)", eviction.Name, q.name()))
	}
	opts := eviction.DeleteOptions
	if opts == nil {
		opts = &metav1.DeleteOptions{}
	}
	if len(opts.DryRun) > 0 && len(dryRun) > 0 && !slices.Equal(opts.DryRun, dryRun) {
		return nil, apierrors.NewInvalid(q.kind.GroupVersionKind().GroupKind(), q.name(), field.ErrorList{
			field.Invalid(field.NewPath("deleteOptions", "dryRun"), opts.DryRun, "differs from the request's dryRun")})
	}
	if len(dryRun) > 0 {
		opts.DryRun = dryRun
	}
	if _, err := r.delete(ctx, q, opts); err != nil {
		return nil, err
	}
	return success(), nil
}
