package openapi

import (
	"net/http"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

var (
	encodings  = []string{runtime.ContentTypeJSON, runtime.ContentTypeYAML, runtime.ContentTypeProtobuf}
	streams    = append(encodings[:len(encodings):len(encodings)], runtime.ContentTypeJSON+";stream=watch", runtime.ContentTypeProtobuf+";stream=watch")
	patchTypes = []string{
		string(types.JSONPatchType), string(types.MergePatchType), string(types.StrategicMergePatchType), string(types.ApplyYAMLPatchType),
	}
)

// subject is what an operation reads or writes.
type subject struct {
	kind schema.GroupVersionKind
	ref  *spec.Schema
	// suffix goes to the operation's id, to tell it from the one on the object itself.
	suffix string
	plain  bool
}

// item puts operations on a path together.
func (b *pathBuilder) item(parameters []spec.Parameter, operations map[string]*spec.Operation) spec.PathItem {
	return spec.PathItem{PathItemProps: spec.PathItemProps{
		Parameters: append(parameters[:len(parameters):len(parameters)], prettyParameter),
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
