package openapi

import (
	"reflect"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/ctlplane/ctlplane/api/resource"
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
	var parameters []spec.Parameter
	if info.Namespaced {
		paths[collection] = b.item(nil, map[string]*spec.Operation{"get": b.list(everywhere)})
		collection = root(info.GroupVersion()) + "/namespaces/{namespace}/" + info.Resource
		parameters = append(parameters, namespaceParameter)
	}
	operations := map[string]*spec.Operation{"get": b.list(""), "post": b.post(b.object())}
	if info.DeletesCollection() {
		operations["delete"] = b.deleteCollection()
	}
	paths[collection] = b.item(parameters, operations)
	parameters = append(parameters, nameParameter)
	one := collection + "/{name}"
	paths[one] = b.item(parameters, map[string]*spec.Operation{
		"get": b.get(b.object()), "put": b.put(b.object()), "patch": b.patch(b.object()), "delete": b.delete(),
	})
	for _, sub := range subresources[info.Resource] {
		paths[one+"/"+sub.name] = b.item(parameters, b.subresource(sub))
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
