package openapi

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
)

// relations tells how the parts of lists and maps belong together for a server-side apply: whether a
// list is a map by some keys, a set, or one value. The Go types say so only in comments; client-go
// carries it as a schema.
type relations struct {
	schema *schema.Schema
}

func loadRelations() (*relations, error) {
	// The converter gives its schema away only with a value.
	value, err := applyconfigurations.NewTypeConverter(scheme.Scheme).ObjectToTyped(&corev1.Namespace{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"},
	})
	if err != nil {
		return nil, fmt.Errorf("load the merge schema: %w", err)
	}
	return &relations{schema: value.Schema()}, nil
}

func (r *relations) typeOf(model string) *schema.Map {
	def, ok := r.schema.FindNamedType(model)
	if !ok {
		return nil
	}
	return def.Map
}

func (r *relations) atomicMap(model string) bool {
	m := r.typeOf(model)
	return m != nil && m.ElementRelationship == schema.Atomic
}

// describe adds what is known of a field to its schema.
func (r *relations) describe(model, name string, property *spec.Schema) {
	m := r.typeOf(model)
	if m == nil {
		return
	}
	f, ok := m.FindField(name)
	if !ok {
		return
	}
	if list := f.Type.Inlined.List; list != nil {
		describeList(list, property)
	}
	if inner := f.Type.Inlined.Map; inner != nil && inner.ElementRelationship == schema.Atomic {
		property.AddExtension("x-kubernetes-map-type", "atomic")
	}
	if r := f.Type.ElementRelationship; r != nil && *r == schema.Atomic {
		property.AddExtension("x-kubernetes-map-type", "atomic")
	}
}

// defaultOf is the value that a field has when it is left out, nil when there is none.
func (r *relations) defaultOf(model, name string) any {
	if m := r.typeOf(model); m != nil {
		if f, ok := m.FindField(name); ok {
			return f.Default
		}
	}
	return nil
}

func describeList(list *schema.List, property *spec.Schema) {
	switch {
	case list.ElementRelationship != schema.Associative:
		property.AddExtension("x-kubernetes-list-type", "atomic")
	case len(list.Keys) == 0:
		property.AddExtension("x-kubernetes-list-type", "set")
	default:
		keys := make([]any, len(list.Keys))
		for i, key := range list.Keys {
			keys[i] = key
		}
		property.AddExtension("x-kubernetes-list-type", "map")
		property.AddExtension("x-kubernetes-list-map-keys", keys)
	}
}
