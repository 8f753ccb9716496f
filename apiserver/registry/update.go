package registry

import (
	"context"
	"errors"
	"fmt"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/ctlplane/ctlplane/apiserver/auth"
	"github.com/ctlplane/ctlplane/apiserver/defaults"
	"github.com/ctlplane/ctlplane/apiserver/validation"
)

// Update replaces an object or, with a subresource ("status", "scale", "finalize"), that part of it.
// An object that bears a resource version replaces only that version.
func (r *Registry) Update(ctx context.Context, gvr schema.GroupVersionResource, namespace, name, subresource string, obj runtime.Object, opts metav1.UpdateOptions) (runtime.Object, error) {
	q, err := r.begin(ctx, "update", gvr, namespace, name, subresource)
	if err != nil {
		return nil, err
	}
	if err := q.needNamespace(); err != nil {
		return nil, err
	}
	if err := refused("UpdateOptions", metav1validation.ValidateUpdateOptions(&opts)); err != nil {
		return nil, err
	}
	dryRun := isDryRun(opts.DryRun)
	if subresource == scaleSubresource {
		scale, ok := obj.(*autoscalingv1.Scale)
		if !ok {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("the body is a %s, not an autoscaling/v1 Scale", typeName(obj)))
		}
		if scale.Name == "" {
			return nil, q.nameRequired()
		}
		return r.rescale(ctx, q, dryRun, opts.FieldManager, func(*autoscalingv1.Scale) (*autoscalingv1.Scale, error) { return scale, nil })
	}
	fresh, err := q.kind.asObject(obj)
	if err != nil {
		return nil, err
	}
	if fresh.GetName() == "" {
		return nil, q.nameRequired()
	}
	if err := q.checkIdentity(fresh); err != nil {
		return nil, err
	}
	updated, err := r.update(ctx, q, dryRun, opts.FieldManager, func(Object) (Object, error) { return fresh, nil })
	if apierrors.IsNotFound(err) && q.kind.createOnUpdate && subresource == "" && fresh.GetResourceVersion() == "" {
		return r.createInstead(ctx, q, fresh, dryRun, opts.FieldManager)
	}
	return updated, err
}

func (q *request) versionRequired() error {
	return apierrors.NewInvalid(q.kind.GroupVersionKind().GroupKind(), q.name(), field.ErrorList{
		field.Invalid(field.NewPath("metadata", "resourceVersion"), "", "must be specified for an update")})
}

// nameRequired refuses an object without a name in a request that replaces one: a body that is empty, by mistake, would replace
// all that there is.
func (q *request) nameRequired() error {
	return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s based on URL) was undeterminable: name must be provided", q.name()))
}

// createInstead is the create that an update or apply of a missing object becomes. It is authorized as one.
func (r *Registry) createInstead(ctx context.Context, q *request, obj Object, dryRun bool, manager string) (Object, error) {
	creation := *q
	creation.attributes.Verb = "create"
	if err := r.authorize(ctx, &creation); err != nil {
		return nil, err
	}
	created, err := r.create(ctx, &creation, obj, dryRun, manager)
	if outcome, ok := ctx.Value(outcomeKey{}).(*Outcome); ok {
		outcome.Created = err == nil
	}
	return created, err
}

// checkIdentity holds an object to the URL that it was sent to.
func (q *request) checkIdentity(obj Object) error {
	if obj.GetName() == "" {
		obj.SetName(q.name())
	}
	if obj.GetNamespace() == "" && q.kind.Namespaced {
		obj.SetNamespace(q.namespace())
	}
	switch {
	case obj.GetName() != q.name():
		return apierrors.NewBadRequest(fmt.Sprintf("the name of the object (%s) does not match the name on the URL (%s)", obj.GetName(), q.name()))
	case q.kind.Namespaced && obj.GetNamespace() != q.namespace():
		return apierrors.NewBadRequest(fmt.Sprintf("the namespace of the object (%s) does not match the namespace on the request (%s)", obj.GetNamespace(), q.namespace()))
	}
	return nil
}

// update writes what propose makes of an object, as a request's subresource lets it. propose gets the
// stored object, which it must not modify; what it gives may be its own only if it gives it once.
func (r *Registry) update(ctx context.Context, q *request, dryRun bool, manager string, propose func(old Object) (Object, error)) (Object, error) {
	var replaced Object
	obj, err := r.modify(ctx, q, preconditions{}, dryRun, func(old Object) (Object, error) {
		replaced = old
		proposed, err := propose(old)
		if err != nil {
			return nil, err
		}
		return r.prepareUpdate(ctx, q, deepCopy(proposed), old, manager)
	})
	if errors.Is(err, errGone) {
		return obj, nil
	}
	if err == nil && q.subresource() == "" {
		warnOfInert(ctx, obj, replaced)
	}
	return obj, err
}

// prepareUpdate brings an object that is to replace old into the form that is stored, or refuses it. It
// owns obj with all that obj refers to, and only reads old: what it keeps of that, it copies.
func (r *Registry) prepareUpdate(ctx context.Context, q *request, obj, old Object, manager string) (Object, error) {
	pre := preconditions{version: obj.GetResourceVersion()}
	if uid := obj.GetUID(); uid != "" {
		pre.uid = &uid
	}
	if err := pre.check(q, old); err != nil {
		return nil, err
	}
	if q.kind.needsVersion && pre.version == "" {
		return nil, q.versionRequired()
	}
	obj.SetResourceVersion(old.GetResourceVersion())
	keepIdentity(obj, old)
	switch q.subresource() {
	case statusSubresource:
		obj = q.kind.withStatus(obj, old)
	case finalizeSubresource:
		obj = finalizeNamespace(obj, old)
	default:
		q.kind.keepStatus(obj, old)
		if q.kind.prepareUpdate != nil {
			q.kind.prepareUpdate(obj, old)
		}
	}
	defaults.Apply(obj)
	if q.kind.allocate != nil && q.subresource() == "" {
		if err := q.kind.allocate(ctx, r, obj); err != nil {
			return nil, err
		}
	}
	if q.kind.generation && !apiequality.Semantic.DeepEqual(q.kind.wantedOf(obj), q.kind.wantedOf(old)) {
		obj.SetGeneration(old.GetGeneration() + 1)
	}
	if err := r.admitUpdate(q, obj, old); err != nil {
		return nil, err
	}
	if err := r.track(q, old, obj, manager); err != nil {
		return nil, err
	}
	if q.kind.ended(obj) {
		return nil, errGone
	}
	return obj, nil
}

func (r *Registry) admitUpdate(q *request, obj, old Object) error {
	if err := (auth.NodeRestriction{}).Admit(&q.attributes, obj, old); err != nil {
		return err
	}
	var errs field.ErrorList
	if q.subresource() == statusSubresource {
		errs = validation.UpdateStatus(obj, old)
	} else {
		errs = validation.Update(obj, old)
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(q.kind.GroupVersionKind().GroupKind(), obj.GetName(), errs)
	}
	return nil
}

// keepStatus gives obj the status that old has.
func (k *kind) keepStatus(obj, old Object) {
	if k.hasStatus {
		moveField(obj, deepCopy(old), "Status")
	}
}

// withStatus is old with obj's status, and what else an update of the status may change; it takes over what obj refers to.
func (k *kind) withStatus(obj, old Object) Object {
	fresh := deepCopy(old)
	moveField(fresh, obj, "Status")
	fresh.SetAnnotations(obj.GetAnnotations())
	if k.labelsWithStatus {
		fresh.SetLabels(obj.GetLabels())
	}
	fresh.SetManagedFields(obj.GetManagedFields())
	return fresh
}
