package registry

import (
	"context"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/yaml"

	"github.com/ctlplane/ctlplane/apiserver/defaults"
)

// applier does server-side apply: it knows which manager set which field.
//
// Fields are tracked from an object's first apply on; what stood before then is one manager's,
// "before-first-apply". Objects that nobody applies bear no tracking and cost none.
type applier struct {
	once      sync.Once
	converter managedfields.TypeConverter
	mu        sync.Mutex
	managers  map[string]*managedfields.FieldManager // by kind and subresource
}

// manager gives the field manager of a kind's subresource.
func (a *applier) manager(k *kind, subresource string) (*managedfields.FieldManager, error) {
	a.once.Do(func() {
		a.converter = applyconfigurations.NewTypeConverter(scheme.Scheme)
		a.managers = map[string]*managedfields.FieldManager{}
	})
	a.mu.Lock()
	defer a.mu.Unlock()
	key := k.prefix + subresource
	if m, ok := a.managers[key]; ok {
		return m, nil
	}
	gv := k.GroupVersion()
	m, err := managedfields.NewDefaultFieldManager(a.converter, scheme.Scheme, defaulter{}, scheme.Scheme,
		k.GroupVersionKind(), gv, subresource, resetFields(k, subresource))
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	a.managers[key] = m
	return m, nil
}

// resetFields are those that a write through a subresource does not touch, so that nobody owns them by it.
func resetFields(k *kind, subresource string) map[fieldpath.APIVersion]fieldpath.Filter {
	var reset *fieldpath.Set
	switch {
	case subresource == statusSubresource:
		reset = fieldpath.NewSet(fieldpath.MakePathOrDie("spec"))
	case subresource == "" && k.hasStatus:
		reset = fieldpath.NewSet(fieldpath.MakePathOrDie("status"))
	default:
		return nil
	}
	return map[fieldpath.APIVersion]fieldpath.Filter{
		fieldpath.APIVersion(k.GroupVersion().String()): fieldpath.NewExcludeSetFilter(reset),
	}
}

// defaulter is defaults.Apply for the field manager.
type defaulter struct{}

// Default implements runtime.ObjectDefaulter.
func (defaulter) Default(obj runtime.Object) { defaults.Apply(obj) }

// track notes who set the fields that differ between old, nil for a new object, and obj. It does
// so only for objects that have been applied.
func (r *Registry) track(q *request, old, obj Object, manager string) error {
	if manager == appliedAlready {
		return nil
	}
	if old == nil || len(old.GetManagedFields()) == 0 {
		obj.SetManagedFields(nil)
		return nil
	}
	m, err := r.apply.manager(q.kind, q.subresource())
	if err != nil {
		return err
	}
	tracked := m.UpdateNoErrors(deepCopy(old), obj, managerName(manager))
	obj.SetManagedFields(tracked.(Object).GetManagedFields())
	return nil
}

// appliedAlready is the manager of an update whose fields an apply has tracked.
const appliedAlready = "\x00applied"

func managerName(manager string) string {
	if manager == "" {
		return "unknown"
	}
	return manager
}

// serverSideApply makes an object what a manager wants of it, and leaves the rest to others. A missing
// object is created.
func (r *Registry) serverSideApply(ctx context.Context, q *request, patch []byte, dryRun bool, opts *metav1.PatchOptions) (runtime.Object, error) {
	wanted, err := readApply(ctx, q, patch, opts.FieldValidation)
	if err != nil {
		return nil, err
	}
	if q.subresource() == scaleSubresource {
		return nil, apierrors.NewMethodNotSupported(q.kind.GroupResource(), "apply")
	}
	m, err := r.apply.manager(q.kind, q.subresource())
	if err != nil {
		return nil, err
	}
	force := opts.Force != nil && *opts.Force
	merge := func(live Object) (Object, error) {
		merged, err := m.Apply(live, wanted, opts.FieldManager, force)
		if err != nil {
			return nil, applyError(err)
		}
		obj, ok := merged.(Object)
		if !ok {
			return nil, apierrors.NewInternalError(fmt.Errorf("apply gave a %T", merged))
		}
		return obj, nil
	}
	for {
		updated, err := r.update(ctx, q, dryRun, appliedAlready, func(old Object) (Object, error) { return merge(deepCopy(old)) })
		if !apierrors.IsNotFound(err) || q.subresource() != "" {
			return updated, err
		}
		obj, err := merge(q.kind.New().(Object))
		if err != nil {
			return nil, err
		}
		created, err := r.createInstead(ctx, q, obj, dryRun, appliedAlready)
		if !apierrors.IsAlreadyExists(err) {
			return created, err
		}
	}
}

// readApply reads an applied configuration and holds it to its URL.
func readApply(ctx context.Context, q *request, patch []byte, fieldValidation string) (*unstructured.Unstructured, error) {
	wanted := &unstructured.Unstructured{}
	document, err := yaml.YAMLToJSON(patch)
	if err == nil {
		err = yaml.Unmarshal(document, &wanted.Object)
	}
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the applied configuration is not a YAML object: %v", err))
	}
	if wanted.Object == nil {
		return nil, apierrors.NewBadRequest("the applied configuration is not a YAML object: there is nothing in it")
	}
	if gvk := wanted.GroupVersionKind(); gvk != q.kind.GroupVersionKind() {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("the applied configuration is a %s, not a %s", gvk, q.kind.GroupVersionKind()))
	}
	if len(wanted.GetManagedFields()) > 0 {
		return nil, apierrors.NewBadRequest("metadata.managedFields must be nil")
	}
	strict := q.kind.New().(Object)
	if err := unmarshal(document, strict, fieldValidation, func(text string) { Warn(ctx, text) }); err != nil {
		return nil, err
	}
	if err := q.checkIdentity(strict); err != nil {
		return nil, err
	}
	wanted.SetName(strict.GetName())
	wanted.SetNamespace(strict.GetNamespace())
	return wanted, nil
}

// applyError keeps what clients understand, such as a conflict between managers.
func applyError(err error) error {
	if _, ok := err.(apierrors.APIStatus); ok {
		return err
	}
	return apierrors.NewBadRequest(err.Error())
}
