package rest

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/ctlplane/ctlplane/api/resource"
	"github.com/ctlplane/ctlplane/apiserver/patience"
	"github.com/ctlplane/ctlplane/apiserver/registry"
)

// serves tells whether there is what the path names.
func (h *Handler) serves(t target) bool {
	info, ok := resource.For(t.GroupVersionResource)
	if !ok || !info.Namespaced && t.namespace != "" || info.Namespaced && t.name != "" && t.namespace == "" {
		return false
	}
	return t.subresource == "" || slices.Contains(h.subresources(info), t.subresource)
}

// exchange is one request for a resource and the means to answer it.
type exchange struct {
	*Handler
	w      http.ResponseWriter
	r      *http.Request
	call   *call
	info   *resource.Info
	format format
}

// serveResource answers a request for a resource.
func (h *Handler) serveResource(w http.ResponseWriter, r *http.Request, c *call) {
	info, _ := resource.For(c.target.GroupVersionResource)
	if allowed := verbsOf(c.target); !slices.Contains(allowed, c.verb) {
		h.methodNotAllowed(w, r, strings.Join(methodsOf(allowed), ", "))
		return
	}
	if c.target.subresource == logSubresource {
		h.serveLog(w, r, c.target)
		return
	}
	f, err := negotiate(r, c.target.subresource == "" || c.target.subresource == "status")
	if err != nil {
		h.fail(w, r, err)
		return
	}
	x := &exchange{Handler: h, w: w, r: r, call: c, info: info, format: f}
	if c.verb == "watch" {
		x.watch()
		return
	}
	code, obj, err := x.do()
	if err == nil {
		obj, err = x.reshape(r, f, info, obj)
	}
	if err != nil {
		h.fail(w, r, err)
		return
	}
	h.write(w, r, f, code, obj)
}

// verbsOf lists what can be done with what a path names.
func verbsOf(t target) []string {
	switch t.subresource {
	case "":
		if t.name == "" {
			verbs := []string{"list", "watch", "create"}
			if deletesCollection(t) {
				verbs = append(verbs, "deletecollection")
			}
			return verbs
		}
	case logSubresource:
		return []string{"get"}
	}
	return registry.ObjectVerbs(t.subresource)
}

// deletesCollection tells whether all objects that a path names can be deleted at once. Those of a namespace can, never those
// of all namespaces.
func deletesCollection(t target) bool {
	info, ok := resource.For(t.GroupVersionResource)
	return ok && info.DeletesCollection() && (!info.Namespaced || t.namespace != "")
}

// methodsOf gives verbs as HTTP methods.
func methodsOf(verbs []string) []string {
	var methods []string
	for _, verb := range verbs {
		method := map[string]string{
			"get": http.MethodGet, "list": http.MethodGet, "watch": http.MethodGet, "create": http.MethodPost, "update": http.MethodPut,
			"patch": http.MethodPatch, "delete": http.MethodDelete, "deletecollection": http.MethodDelete,
		}[verb]
		if !slices.Contains(methods, method) {
			methods = append(methods, method)
		}
	}
	return methods
}

// do carries a request out; it is not a watch.
func (x *exchange) do() (code int, obj runtime.Object, err error) {
	switch x.call.verb {
	case "get":
		obj, err = x.get()
	case "list":
		obj, err = x.list()
	case "create":
		obj, err = x.create()
		return http.StatusCreated, obj, err
	case "update":
		return x.update()
	case "patch":
		return x.patch()
	case "delete":
		obj, err = x.delete()
	case "deletecollection":
		obj, err = x.deleteCollection()
	default:
		err = notFoundPath()
	}
	return http.StatusOK, obj, err
}

func (x *exchange) get() (runtime.Object, error) {
	var opts metav1.GetOptions
	if err := x.options(&opts); err != nil {
		return nil, err
	}
	t := x.call.target
	return x.objects.GetSubresource(x.r.Context(), t.GroupVersionResource, t.namespace, t.name, t.subresource, opts)
}

func (x *exchange) list() (runtime.Object, error) {
	var opts metav1.ListOptions
	if err := x.options(&opts); err != nil {
		return nil, err
	}
	t := x.call.target
	return x.objects.List(x.r.Context(), t.GroupVersionResource, t.namespace, opts)
}

func (x *exchange) create() (runtime.Object, error) {
	var opts metav1.CreateOptions
	if err := x.options(&opts); err != nil {
		return nil, err
	}
	obj, err := x.object(opts.FieldValidation)
	if err != nil {
		return nil, err
	}
	t := x.call.target
	return x.objects.Create(x.r.Context(), t.GroupVersionResource, t.namespace, t.name, t.subresource, obj, manager(&opts, &opts.FieldManager, x.r))
}

func (x *exchange) update() (int, runtime.Object, error) {
	var opts metav1.UpdateOptions
	if err := x.options(&opts); err != nil {
		return 0, nil, err
	}
	obj, err := x.object(opts.FieldValidation)
	if err != nil {
		return 0, nil, err
	}
	t := x.call.target
	ctx, created := registry.WithOutcome(x.r.Context())
	updated, err := x.objects.Update(ctx, t.GroupVersionResource, t.namespace, t.name, t.subresource, obj, manager(&opts, &opts.FieldManager, x.r))
	return codeOf(created), updated, err
}

func (x *exchange) patch() (int, runtime.Object, error) {
	var opts metav1.PatchOptions
	if err := x.options(&opts); err != nil {
		return 0, nil, err
	}
	kind := mediaOf(x.r)
	if types.PatchType(kind) != types.ApplyYAMLPatchType {
		manager(&opts, &opts.FieldManager, x.r)
	}
	t := x.call.target
	ctx, created := registry.WithOutcome(x.r.Context())
	patched, err := x.objects.Patch(ctx, t.GroupVersionResource, t.namespace, t.name, t.subresource, types.PatchType(kind), x.call.body, opts)
	return codeOf(created), patched, err
}

func codeOf(outcome *registry.Outcome) int {
	if outcome.Created {
		return http.StatusCreated
	}
	return http.StatusOK
}

func (x *exchange) delete() (runtime.Object, error) {
	opts, err := x.deleteOptions()
	if err != nil {
		return nil, err
	}
	t := x.call.target
	return x.objects.Delete(x.r.Context(), t.GroupVersionResource, t.namespace, t.name, *opts)
}

func (x *exchange) deleteCollection() (runtime.Object, error) {
	opts, err := x.deleteOptions()
	if err != nil {
		return nil, err
	}
	var list metav1.ListOptions
	if err := x.options(&list); err != nil {
		return nil, err
	}
	t := x.call.target
	return x.objects.DeleteCollection(x.r.Context(), t.GroupVersionResource, t.namespace, *opts, list)
}

// deleteOptions are in the body or, when there is none, in the query. Beside a body, as in Kubernetes, the query doesn't count; but
// a dry run that it asks for is one, for what is deleted is gone.
func (x *exchange) deleteOptions() (*metav1.DeleteOptions, error) {
	opts := &metav1.DeleteOptions{}
	if err := x.options(opts); err != nil || len(x.call.body) == 0 {
		return opts, err
	}
	obj, err := registry.DecodeObject(x.call.body, mediaOf(x.r), schema.GroupVersionKind{Version: "v1", Kind: "DeleteOptions"}, metav1.FieldValidationIgnore, nil)
	if err != nil {
		return nil, err
	}
	given, ok := obj.(*metav1.DeleteOptions)
	if !ok {
		return nil, badRequest("the body of a delete must be DeleteOptions, it is a %T", obj)
	}
	if len(given.DryRun) == 0 {
		given.DryRun = opts.DryRun
	}
	return given, nil
}

// options reads the query.
func (x *exchange) options(into runtime.Object) error {
	query := x.r.URL.Query()
	if err := scheme.ParameterCodec.DecodeParameters(query, corev1.SchemeGroupVersion, into); err != nil {
		return badRequest("the query can't be read: %v", err)
	}
	if list, ok := into.(*metav1.ListOptions); ok && x.call.target.name != "" {
		pinned := fields.OneTermEqualSelector("metadata.name", x.call.target.name).String()
		if list.FieldSelector != "" {
			pinned += "," + list.FieldSelector
		}
		list.FieldSelector = pinned
	}
	return nil
}

// object reads the body.
func (x *exchange) object(fieldValidation string) (runtime.Object, error) {
	if len(x.call.body) == 0 {
		return nil, badRequest("the body is empty: it must be a %s", x.expected().Kind)
	}
	return registry.DecodeObject(x.call.body, x.r.Header.Get("Content-Type"), x.expected(), fieldValidation, func(text string) { warn(x.w, text) })
}

// expected is the kind that a request's body has.
func (x *exchange) expected() schema.GroupVersionKind {
	switch x.call.target.subresource {
	case "scale":
		return autoscalingv1.SchemeGroupVersion.WithKind("Scale")
	case "binding":
		return corev1.SchemeGroupVersion.WithKind("Binding")
	case "eviction":
		return policyv1.SchemeGroupVersion.WithKind("Eviction")
	}
	return x.info.GroupVersionKind()
}

// manager names who writes, for those requests that don't say: the program that sends them.
func manager[T any](opts *T, name *string, r *http.Request) T {
	if *name == "" {
		*name = agentName(r.UserAgent())
	}
	return *opts
}

// agentName is as much of what a program calls itself as names a manager: the printable characters before its version.
func agentName(userAgent string) string {
	program, _, _ := strings.Cut(userAgent, "/")
	var name strings.Builder
	for _, r := range program {
		if !unicode.IsPrint(r) {
			continue
		}
		if name.Len()+utf8.RuneLen(r) > validation.FieldManagerMaxLength {
			break
		}
		name.WriteRune(r)
	}
	return name.String()
}

// mediaOf is the content type of the body, without its parameters.
func mediaOf(r *http.Request) string {
	media, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	return strings.TrimSpace(media)
}

// bodyError is what a client is told whose body was not read.
func bodyError(err error) error {
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return apierrors.NewRequestEntityTooLargeError(fmt.Sprintf("limit is %d bytes (3 MiB): split the object", tooLarge.Limit))
	case errors.Is(err, patience.ErrCrowded):
		return apierrors.NewTooManyRequests(err.Error()+": send it again", 1)
	case errors.Is(err, patience.ErrSlowBody):
		return &apierrors.StatusError{ErrStatus: metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusRequestTimeout, Reason: metav1.StatusReasonTimeout, Message: err.Error() + ": send it again",
		}}
	}
	return badRequest("the body can't be read: %v", err)
}
