// Package openapi describes the API in OpenAPI v3 and v2, so that clients can check a manifest, merge
// an apply and explain a field. Nothing is generated ahead: the documents are made from the Go types
// when somebody first asks for them.
package openapi

import (
	"maps"
	"reflect"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/openapiconv"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"github.com/ctlplane/ctlplane/api/resource"
)

// describe makes the document of some kinds, in the form of OpenAPI v2.
func describe(infos []*resource.Info, version string, dialect dialect) (*spec.Swagger, error) {
	relations, err := loadRelations()
	if err != nil {
		return nil, err
	}
	d := newDefinitions(relations, dialect)
	paths := map[string]spec.PathItem{}
	for _, info := range infos {
		maps.Copy(paths, pathsOf(d, info))
	}
	nameKinds(d, infos)
	return &spec.Swagger{SwaggerProps: spec.SwaggerProps{
		Swagger: "2.0",
		Info: &spec.Info{InfoProps: spec.InfoProps{
			Title: "ctlplane", Version: version, Description: "The Kubernetes API of a ctlplane cluster.",
		}},
		Paths:       &spec.Paths{Paths: paths},
		Definitions: d.schemas,
	}}, nil
}

// nameKinds marks the schemas that are kinds with the names that manifests call them by.
func nameKinds(d *definitions, infos []*resource.Info) {
	for _, info := range infos {
		gv := info.GroupVersion()
		for _, example := range []any{info.Example, info.ExampleList} {
			t := deref(reflect.TypeOf(example))
			d.nameKind(t, gv.WithKind(t.Name()))
		}
		d.nameKind(reflect.TypeFor[metav1.DeleteOptions](), gv.WithKind("DeleteOptions"))
		for _, sub := range subresources[info.Resource] {
			if sub.object != nil {
				d.nameKind(reflect.TypeOf(sub.object), sub.kind)
			}
		}
	}
	d.nameKind(reflect.TypeFor[metav1.Status](), schema.GroupVersionKind{Version: "v1", Kind: "Status"})
}

const kindsExtension = "x-kubernetes-group-version-kind"

func (d *definitions) nameKind(t reflect.Type, kind schema.GroupVersionKind) {
	name := d.add(t)
	s := d.schemas[name]
	kinds, _ := s.Extensions[kindsExtension].([]any)
	for _, known := range kinds {
		if reflect.DeepEqual(known, any(kindExtension(kind))) {
			return
		}
	}
	s.AddExtension(kindsExtension, append(kinds, kindExtension(kind)))
	d.schemas[name] = s
}

// version3 makes the OpenAPI v3 document of one group version.
func version3(gv schema.GroupVersion, version string) (*spec3.OpenAPI, error) {
	var infos []*resource.Info
	for _, info := range resource.All() {
		if info.GroupVersion() == gv {
			infos = append(infos, info)
		}
	}
	swagger, err := describe(infos, version, version3Dialect)
	if err != nil {
		return nil, err
	}
	return openapiconv.ConvertV2ToV3(swagger), nil
}
