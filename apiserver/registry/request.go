package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/ctlplane/ctlplane/apiserver/auth"
	"github.com/ctlplane/ctlplane/apiserver/validation"
)

// request is one call on the registry: by whom, for what.
type request struct {
	kind       *kind
	attributes auth.Attributes
}

func (q *request) namespace() string   { return q.attributes.Namespace }
func (q *request) name() string        { return q.attributes.Name }
func (q *request) subresource() string { return q.attributes.Subresource }

// begin checks that a call is for something that there is, authorizes it, and checks that it can be done.
func (r *Registry) begin(ctx context.Context, verb string, gvr schema.GroupVersionResource, namespace, name, subresource string) (*request, error) {
	q, err := r.newRequest(ctx, verb, gvr, namespace, name, subresource)
	if err != nil {
		return nil, err
	}
	if err := r.authorize(ctx, q); err != nil {
		return nil, err
	}
	return q, q.checkVerb()
}

func (r *Registry) newRequest(ctx context.Context, verb string, gvr schema.GroupVersionResource, namespace, name, subresource string) (*request, error) {
	user, ok := auth.UserFrom(ctx)
	if !ok {
		return nil, apierrors.NewUnauthorized("the request is nobody's: authenticate first")
	}
	k, ok := r.kinds[gvr]
	if !ok || subresource != "" && !slices.Contains(k.subresources, subresource) {
		return nil, errNoResource()
	}
	if !k.Namespaced && namespace != "" {
		return nil, apierrors.NewBadRequest("namespace may not be set for the cluster-scoped resource " + k.Resource)
	}
	q := &request{kind: k, attributes: auth.Attributes{
		User: user, Verb: verb, ResourceRequest: true,
		Group: gvr.Group, Version: gvr.Version, Resource: gvr.Resource, Subresource: subresource,
		Namespace: namespace, Name: name,
	}}
	if k == r.namespaces { // as Kubernetes has it, a namespace is in itself
		q.attributes.Namespace = name
	}
	ready, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	if err := r.WaitReady(ready); err != nil {
		return nil, readError(fmt.Errorf("the object cache is still being loaded: %w", err))
	}
	return q, nil
}

// authorize asks whether the call may be made. What a node may do follows from the pods bound to it, and
// it may have learned of a binding from another master: before a node is denied, the cache has to be as
// new as the store.
func (r *Registry) authorize(ctx context.Context, q *request) error {
	decision, reason := r.opts.Authorizer.Authorize(&q.attributes)
	if _, isNode := q.attributes.User.Node(); isNode && decision != auth.Allow {
		if err := r.refresh(ctx); err != nil {
			return err
		}
		decision, reason = r.opts.Authorizer.Authorize(&q.attributes)
	}
	if decision == auth.Allow {
		return nil
	}
	return forbidden(q, q.attributes.Denial(reason))
}

// needNamespace rejects a call for one object of a namespaced kind that names no namespace.
func (q *request) needNamespace() error {
	if q.kind.Namespaced && q.namespace() == "" {
		return apierrors.NewBadRequest("an empty namespace may not be set when a resource name is provided or an object is created")
	}
	return nil
}

// now is the time as objects bear it, to the second.
func (r *Registry) now() metav1.Time { return metav1.NewTime(r.opts.Clock.Now()).Rfc3339Copy() }

type warnKey struct{}

// WithWarnings returns a context in which warn hears what a caller should know about a call that
// succeeded all the same.
func WithWarnings(ctx context.Context, warn func(text string)) context.Context {
	return context.WithValue(ctx, warnKey{}, warn)
}

// Warn tells the caller of ctx's request something, if the caller listens.
func Warn(ctx context.Context, text string) {
	if warn, ok := ctx.Value(warnKey{}).(func(string)); ok {
		warn(text)
	}
}

// warnOfInert tells the caller of ctx's request, if it listens, which fields that it has set do nothing. Old is what obj
// replaces; nil: nothing.
func warnOfInert(ctx context.Context, obj, old Object) {
	if ctx.Value(warnKey{}) == nil {
		return
	}
	for _, line := range validation.Inert(obj, old) {
		Warn(ctx, line)
	}
}

// AuthorizePath decides whether the user of ctx may use a path that is not a resource's.
func (r *Registry) AuthorizePath(ctx context.Context, verb, path string) error {
	user, ok := auth.UserFrom(ctx)
	if !ok {
		return apierrors.NewUnauthorized("the request is nobody's: authenticate first")
	}
	attributes := auth.Attributes{User: user, Verb: verb, Path: path}
	if decision, reason := r.opts.Authorizer.Authorize(&attributes); decision != auth.Allow {
		return apierrors.NewForbidden(schema.GroupResource{}, "", errors.New(attributes.Denial(reason)))
	}
	return nil
}

// AuthorizeSubresource decides whether the user of ctx may do something with a part of an object that
// is not the registry's to serve, such as a pod's log.
func (r *Registry) AuthorizeSubresource(ctx context.Context, verb string, gvr schema.GroupVersionResource, namespace, name, subresource string) error {
	q, err := r.newRequest(ctx, verb, gvr, namespace, name, "")
	if err != nil {
		return err
	}
	q.attributes.Subresource = subresource
	return r.authorize(ctx, q)
}

// Outcome is what a caller may want to know of a write beside its result.
type Outcome struct {
	// Created tells that an update or apply made a new object.
	Created bool
}

type outcomeKey struct{}

// WithOutcome returns a context whose one write tells its outcome.
func WithOutcome(ctx context.Context) (context.Context, *Outcome) {
	outcome := &Outcome{}
	return context.WithValue(ctx, outcomeKey{}, outcome), outcome
}
