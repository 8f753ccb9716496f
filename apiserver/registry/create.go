package registry

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/apimachinery/pkg/util/uuid"

	"github.com/ctlplane/ctlplane/apiserver/auth"
	"github.com/ctlplane/ctlplane/apiserver/defaults"
	"github.com/ctlplane/ctlplane/apiserver/validation"
)

const (
	// nameAttempts is how often a name is generated before a create gives up.
	nameAttempts = 8
	// nameSuffix is the number of random characters of a generated name.
	nameSuffix = 5
	// generatedBase is how much of generateName a generated name takes, so that it stays a DNS label.
	generatedBase = 63 - nameSuffix
)

// Create stores a new object, or posts obj to a subresource of the object called name: a Binding to
// a pod's "binding", an Eviction to its "eviction".
func (r *Registry) Create(ctx context.Context, gvr schema.GroupVersionResource, namespace, name, subresource string, obj runtime.Object, opts metav1.CreateOptions) (runtime.Object, error) {
	if subresource == "" {
		name = "" // the object's own counts, and nobody is authorized by what a body says
	}
	q, err := r.begin(ctx, "create", gvr, namespace, name, subresource)
	if err != nil {
		return nil, err
	}
	if err := q.needNamespace(); err != nil {
		return nil, err
	}
	if err := refused("CreateOptions", metav1validation.ValidateCreateOptions(&opts)); err != nil {
		return nil, err
	}
	dryRun := isDryRun(opts.DryRun)
	switch subresource {
	case "":
		return r.create(ctx, q, obj, dryRun, opts.FieldManager)
	case bindingSubresource:
		binding, ok := obj.(*corev1.Binding)
		if !ok {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("the body is a %s, not a v1 Binding", typeName(obj)))
		}
		if err := r.bind(ctx, q, binding, dryRun); err != nil {
			return nil, err
		}
		return success(), nil
	case evictionSubresource:
		eviction, ok := obj.(*policyv1.Eviction)
		if !ok {
			return nil, apierrors.NewBadRequest(fmt.Sprintf("the body is a %s, not a policy/v1 Eviction", typeName(obj)))
		}
		return r.evict(ctx, q, eviction, opts.DryRun)
	}
	return nil, apierrors.NewMethodNotSupported(gvr.GroupResource(), "create")
}

func success() *metav1.Status {
	return &metav1.Status{
		TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"},
		Status:   metav1.StatusSuccess, Code: 201,
	}
}

// create stores a new object.
func (r *Registry) create(ctx context.Context, q *request, given runtime.Object, dryRun bool, manager string) (Object, error) {
	obj, err := q.kind.asObject(given)
	if err != nil {
		return nil, err
	}
	if err := r.prepareCreate(q, obj); err != nil {
		return nil, err
	}
	generated := obj.GetName() == ""
	for attempt := 1; ; attempt++ {
		if generated {
			obj.SetName(generateName(obj.GetGenerateName()))
		}
		created, err := r.createNamed(ctx, q, obj, dryRun, manager)
		if !generated || !apierrors.IsAlreadyExists(err) {
			return created, err
		}
		if attempt == nameAttempts {
			return nil, apierrors.NewGenerateNameConflict(q.kind.GroupResource(), obj.GetName(), retrySeconds)
		}
	}
}

// prepareCreate sets the metadata that is the server's to set, and takes out what a client may not say.
func (r *Registry) prepareCreate(q *request, obj Object) error {
	if obj.GetResourceVersion() != "" {
		return apierrors.NewBadRequest("resourceVersion should not be set on objects to be created")
	}
	if obj.GetNamespace() == "" && q.kind.Namespaced {
		obj.SetNamespace(q.namespace())
	}
	if q.kind.Namespaced && obj.GetNamespace() != q.namespace() {
		return apierrors.NewBadRequest("the namespace of the provided object does not match the namespace sent on the request")
	}
	obj.SetUID(uuid.NewUUID())
	obj.SetCreationTimestamp(r.now())
	obj.SetDeletionTimestamp(nil)
	obj.SetDeletionGracePeriodSeconds(nil)
	obj.SetSelfLink("")
	obj.SetGeneration(0)
	if q.kind.generation {
		obj.SetGeneration(1)
	}
	if !q.kind.statusOnCreate {
		clearStatus(obj)
	}
	if q.kind.prepareCreate != nil {
		q.kind.prepareCreate(obj)
	}
	return nil
}

func generateName(base string) string {
	if base == "" {
		return ""
	}
	return base[:min(len(base), generatedBase)] + rand.String(nameSuffix)
}

// createNamed admits, defaults, checks and writes an object that has its name.
func (r *Registry) createNamed(ctx context.Context, q *request, obj Object, dryRun bool, manager string) (Object, error) {
	attributes := q.attributes
	attributes.Name = obj.GetName()
	named := &request{kind: q.kind, attributes: attributes}
	if err := r.track(named, nil, obj, manager); err != nil {
		return nil, err
	}
	for {
		created, again, err := r.tryCreate(ctx, named, obj, dryRun)
		if err == nil && !again {
			warnOfInert(ctx, obj, nil)
		}
		if !again {
			return created, err
		}
		if err := ctx.Err(); err != nil {
			return nil, writeError(err)
		}
	}
}

// tryCreate makes one attempt; again tells that it met a change that another attempt may pass.
func (r *Registry) tryCreate(ctx context.Context, q *request, prepared Object, dryRun bool) (created Object, again bool, err error) {
	obj := deepCopy(prepared)
	m := &mutation{kind: q.kind, key: q.kind.keyOf(obj)}
	if q.kind.Namespaced {
		g, err := r.openNamespace(ctx, q, obj.GetNamespace())
		if err != nil {
			return nil, false, err
		}
		m.guards = append(m.guards, g)
	}
	if err := r.admitCreate(ctx, q, obj); err != nil {
		return nil, false, err
	}
	if m.value, err = encodeBounded(obj); err != nil {
		return nil, false, err
	}
	m.claims = q.kind.claimsOf(obj)
	if dryRun {
		e, err := r.read(ctx, q.kind, m.key)
		if err == nil && e != nil {
			err = apierrors.NewAlreadyExists(q.kind.GroupResource(), obj.GetName())
		}
		return obj, false, err
	}
	revision, refused, err := r.commit(ctx, m)
	switch {
	case err != nil:
		return nil, false, err
	case refused == nil:
		obj.SetResourceVersion(formatRevision(revision))
		return obj, false, nil
	case refused.moved:
		return nil, false, apierrors.NewAlreadyExists(q.kind.GroupResource(), obj.GetName())
	case len(refused.taken) > 0 && !sameClaims(q.kind.claimsOf(prepared), refused.taken):
		return nil, true, nil // an address that was chosen here, and by somebody else at the same time
	case len(refused.taken) > 0:
		return nil, false, claimTaken(q, refused.taken[0])
	}
	return nil, true, r.refresh(ctx) // the namespace has changed
}

// admitCreate brings a new object into the form that is stored, or refuses it.
func (r *Registry) admitCreate(ctx context.Context, q *request, obj Object) error {
	if err := (auth.NodeRestriction{}).Admit(&q.attributes, obj, nil); err != nil {
		return err
	}
	defaults.Apply(obj)
	if q.kind.admit != nil {
		if err := q.kind.admit(ctx, r, q, obj); err != nil {
			return err
		}
	}
	if q.kind.allocate != nil {
		if err := q.kind.allocate(ctx, r, obj); err != nil {
			return err
		}
	}
	if errs := validation.Create(obj); len(errs) > 0 {
		return apierrors.NewInvalid(q.kind.GroupVersionKind().GroupKind(), obj.GetName(), errs)
	}
	return nil
}

func wrongKind(k *kind, obj runtime.Object) error {
	return apierrors.NewBadRequest(fmt.Sprintf("the object provided is a %s, %s takes a %s",
		typeName(obj), k.Resource, k.Kind))
}

// sameClaims tells whether all of taken were asked for by name.
func sameClaims(asked, taken []claim) bool { return len(without(taken, asked)) == 0 }

// claimTaken says that a value which the object asks for is another object's.
func claimTaken(q *request, c claim) error {
	return apierrors.NewInvalid(q.kind.GroupVersionKind().GroupKind(), q.name(), takenErrors(c.domain, c.value))
}
