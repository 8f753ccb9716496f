package openapi

import (
	"net/http"
	"reflect"
	"strings"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/ctlplane/ctlplane/api/resource"
)

var (
	encodings  = []string{runtime.ContentTypeJSON, runtime.ContentTypeYAML, runtime.ContentTypeProtobuf}
	streams    = append(encodings[:len(encodings):len(encodings)], runtime.ContentTypeJSON+";stream=watch", runtime.ContentTypeProtobuf+";stream=watch")
	patchTypes = []string{
		string(types.JSONPatchType), string(types.MergePatchType), string(types.StrategicMergePatchType), string(types.ApplyYAMLPatchType),
	}
)

// subresource is a part of an object that has a path of its own.
type subresource struct {
	name string
	// kind and object are of what is read and written there; kind is empty when it is the object itself.
	kind   schema.GroupVersionKind
	object any
	verbs  []string
	// plain is set when what is read is text, not an object.
	plain bool
}

var (
	readWrite = []string{"get", "put", "patch"}
	scaleKind = autoscalingv1.SchemeGroupVersion.WithKind("Scale")

	status  = subresource{name: "status", verbs: readWrite}
	scale   = subresource{name: "scale", kind: scaleKind, object: autoscalingv1.Scale{}, verbs: readWrite}
	binding = subresource{name: "binding", kind: corev1.SchemeGroupVersion.WithKind("Binding"), object: corev1.Binding{}, verbs: []string{"post"}}
	evict   = subresource{name: "eviction", kind: policyv1.SchemeGroupVersion.WithKind("Eviction"), object: policyv1.Eviction{}, verbs: []string{"post"}}
	logs    = subresource{name: "log", verbs: []string{"get"}, plain: true}
	finish  = subresource{name: "finalize", verbs: []string{"put"}}
)

var subresources = map[string][]subresource{
	"namespaces":  {status, finish},
	"nodes":       {status},
	"pods":        {status, binding, evict, logs},
	"services":    {status},
	"deployments": {status, scale},
	"replicasets": {status, scale},
}

// pathsOf describes the paths of a kind: where it is listed, where one object is, and its parts.
func pathsOf(d *definitions, info *resource.Info) map[string]spec.PathItem {
	b := &pathBuilder{definitions: d, info: info}
	collection := root(info.GroupVersion()) + "/" + info.Resource
	paths := map[string]spec.PathItem{}
	var place []spec.Parameter
	if info.Namespaced {
		paths[collection] = b.item(nil, map[string]*spec.Operation{"get": b.list(everywhere)})
		collection = root(info.GroupVersion()) + "/namespaces/{namespace}/" + info.Resource
		place = append(place, namespaceParameter)
	}
	paths[collection] = b.item(place, map[string]*spec.Operation{"get": b.list(""), "post": b.post(b.object()), "delete": b.deleteCollection()})
	place = append(place, nameParameter)
	one := collection + "/{name}"
	paths[one] = b.item(place, map[string]*spec.Operation{
		"get": b.get(b.object()), "put": b.put(b.object()), "patch": b.patch(b.object()), "delete": b.delete(),
	})
	for _, sub := range subresources[info.Resource] {
		paths[one+"/"+sub.name] = b.item(place, b.subresource(sub))
	}
	return paths
}

// root is the path of a group's version.
func root(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "/api/" + gv.Version
	}
	return "/apis/" + gv.Group + "/" + gv.Version
}

// everywhere is the suffix of a list over all namespaces.
const everywhere = "ForAllNamespaces"

type pathBuilder struct {
	definitions *definitions
	info        *resource.Info
}

// subject is what an operation reads or writes.
type subject struct {
	kind schema.GroupVersionKind
	ref  *spec.Schema
	// suffix goes to the operation's id, to tell it from the one on the object itself.
	suffix string
	plain  bool
}

func (b *pathBuilder) object() subject {
	return subject{kind: b.info.GroupVersionKind(), ref: b.ref(b.info.Example)}
}

func (b *pathBuilder) ref(example any) *spec.Schema {
	return spec.RefSchema(refPrefix + b.definitions.add(deref(reflect.TypeOf(example))))
}

func (b *pathBuilder) subresource(sub subresource) map[string]*spec.Operation {
	s := b.object()
	if sub.object != nil {
		s.kind, s.ref = sub.kind, b.ref(sub.object)
	}
	s.suffix, s.plain = upperFirst(sub.name), sub.plain
	operations := map[string]*spec.Operation{}
	for _, verb := range sub.verbs {
		switch verb {
		case "get":
			operations[verb] = b.get(s)
		case "put":
			operations[verb] = b.put(s)
		case "patch":
			operations[verb] = b.patch(s)
		case "post":
			operations[verb] = b.post(s)
		}
	}
	return operations
}

// item puts operations on a path together.
func (b *pathBuilder) item(place []spec.Parameter, operations map[string]*spec.Operation) spec.PathItem {
	return spec.PathItem{PathItemProps: spec.PathItemProps{
		Parameters: append(place[:len(place):len(place)], prettyParameter),
		Get:        operations["get"], Put: operations["put"], Post: operations["post"],
		Patch: operations["patch"], Delete: operations["delete"],
	}}
}

// operation makes what all operations have. action is Kubernetes' word for what it does.
func (b *pathBuilder) operation(action, description string, s subject, produces []string, success int) *spec.Operation {
	gv := b.info.GroupVersion()
	op := &spec.Operation{}
	op.ID = b.id(action, s)
	op.Description = description
	op.Tags = []string{lowerFirst(groupName(gv)) + "_" + gv.Version}
	op.Produces = produces
	op.Consumes = []string{"*/*"}
	answer := s.ref
	if s.plain {
		answer, op.Produces = spec.StringProperty(), []string{"text/plain", runtime.ContentTypeJSON, runtime.ContentTypeYAML, runtime.ContentTypeProtobuf}
	}
	respond(op, success, "OK", answer)
	respond(op, http.StatusUnauthorized, "Unauthorized", nil)
	op.AddExtension("x-kubernetes-action", action)
	op.AddExtension("x-kubernetes-group-version-kind", kindExtension(s.kind))
	return op
}

// id names an operation as Kubernetes does: listCoreV1NamespacedPod, readAppsV1NamespacedDeploymentScale.
func (b *pathBuilder) id(action string, s subject) string {
	gv := b.info.GroupVersion()
	word, scope := action, ""
	if b.info.Namespaced && s.suffix != everywhere {
		scope = "Namespaced"
	}
	switch action {
	case "post":
		word = "create"
	case "get":
		word = "read"
	case "put":
		word = "replace"
	case "deletecollection":
		word, scope = "delete", "Collection"+scope
	}
	return word + groupName(gv) + upperFirst(gv.Version) + scope + b.info.Kind + s.suffix
}

// respond adds an answer to an operation; schema is nil for one without content.
func respond(op *spec.Operation, code int, description string, schema *spec.Schema) {
	if op.Responses == nil {
		op.Responses = &spec.Responses{ResponsesProps: spec.ResponsesProps{StatusCodeResponses: map[int]spec.Response{}}}
	}
	op.Responses.StatusCodeResponses[code] = spec.Response{ResponseProps: spec.ResponseProps{Description: description, Schema: schema}}
}

func kindExtension(kind schema.GroupVersionKind) map[string]any {
	return map[string]any{"group": kind.Group, "version": kind.Version, "kind": kind.Kind}
}

func (b *pathBuilder) list(where string) *spec.Operation {
	s := subject{kind: b.info.GroupVersionKind(), ref: b.ref(b.info.ExampleList), suffix: where}
	op := b.operation("list", "list or watch objects of kind "+b.info.Kind, s, streams, http.StatusOK)
	op.Parameters = listParameters
	return op
}

func (b *pathBuilder) get(s subject) *spec.Operation {
	op := b.operation("get", "read "+part(s)+"the specified "+b.info.Kind, s, encodings, http.StatusOK)
	if s.plain {
		op.Parameters = logParameters
	}
	return op
}

func (b *pathBuilder) post(s subject) *spec.Operation {
	op := b.operation("post", "create "+part(s)+"a "+b.info.Kind, s, encodings, http.StatusCreated)
	respond(op, http.StatusOK, "OK", s.ref)
	op.Parameters = append([]spec.Parameter{body(s.ref, true)}, writeParameters...)
	return op
}

func (b *pathBuilder) put(s subject) *spec.Operation {
	op := b.operation("put", "replace "+part(s)+"the specified "+b.info.Kind, s, encodings, http.StatusOK)
	respond(op, http.StatusCreated, "Created", s.ref)
	op.Parameters = append([]spec.Parameter{body(s.ref, true)}, writeParameters...)
	return op
}

func (b *pathBuilder) patch(s subject) *spec.Operation {
	op := b.operation("patch", "partially update "+part(s)+"the specified "+b.info.Kind, s, encodings, http.StatusOK)
	respond(op, http.StatusCreated, "Created", s.ref)
	op.Consumes = patchTypes
	op.Parameters = append([]spec.Parameter{body(b.ref(metav1.Patch{}), true)}, append(writeParameters[:len(writeParameters):len(writeParameters)], forceParameter)...)
	return op
}

func (b *pathBuilder) delete() *spec.Operation {
	s := b.object()
	s.ref = b.ref(metav1.Status{})
	op := b.operation("delete", "delete a "+b.info.Kind, s, encodings, http.StatusOK)
	respond(op, http.StatusAccepted, "Accepted", s.ref)
	op.Parameters = append([]spec.Parameter{body(b.ref(metav1.DeleteOptions{}), false)}, deleteParameters...)
	return op
}

func (b *pathBuilder) deleteCollection() *spec.Operation {
	s := b.object()
	s.ref = b.ref(metav1.Status{})
	op := b.operation("deletecollection", "delete collection of "+b.info.Kind, s, encodings, http.StatusOK)
	op.Parameters = append([]spec.Parameter{body(b.ref(metav1.DeleteOptions{}), false)}, deleteCollectionParameters...)
	return op
}

// part says which part of the object an operation is on.
func part(s subject) string {
	if s.suffix == "" {
		return ""
	}
	return strings.ToLower(s.suffix) + " of "
}

// groupName is how operation ids spell a group: AppsV1, CoordinationV1, CoreV1.
func groupName(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "Core"
	}
	name, _, _ := strings.Cut(gv.Group, ".")
	return upperFirst(name)
}

func upperFirst(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

func lowerFirst(s string) string { return strings.ToLower(s[:1]) + s[1:] }
