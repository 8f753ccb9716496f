package openapi

import (
	"fmt"
	"reflect"
	"strings"

	"k8s.io/kube-openapi/pkg/validation/spec"
)

// definitions are the schemas of Go types, by their OpenAPI names. They are made by reflection: the
// json tags give the fields, SwaggerDoc the descriptions, the patch tags what a strategic merge does,
// and relations what a server-side apply does.
//
//  1. A type has one schema, and a schema refers to others by name, so that types may be recursive.
//  2. References are OpenAPI v2's (#/definitions/…); version 3 is converted from them.
type definitions struct {
	schemas   map[string]spec.Schema
	relations *relations
	dialect   dialect
}

// dialect is what the two versions say differently beyond their form: version 2 knows no values of
// alternative types, and its clients stumble over defaults.
type dialect int

const (
	version2Dialect dialect = 2
	version3Dialect dialect = 3
)

func newDefinitions(relations *relations, dialect dialect) *definitions {
	return &definitions{schemas: map[string]spec.Schema{}, relations: relations, dialect: dialect}
}

const refPrefix = "#/definitions/"

// Interfaces that Kubernetes' API types implement for whoever describes them.
type (
	named     interface{ OpenAPIModelName() string }
	described interface{ SwaggerDoc() map[string]string }
	scalar    interface {
		OpenAPISchemaType() []string
		OpenAPISchemaFormat() string
	}
	alternative interface{ OpenAPIV3OneOfTypes() []string }
)

// add makes sure that the type has a schema and gives its name.
func (d *definitions) add(t reflect.Type) string {
	name := modelName(t)
	if _, ok := d.schemas[name]; ok {
		return name
	}
	d.schemas[name] = spec.Schema{} // stops the recursion
	d.schemas[name] = d.model(t, name)
	return name
}

func modelName(t reflect.Type) string {
	if n, ok := reflect.Zero(t).Interface().(named); ok {
		return n.OpenAPIModelName()
	}
	return strings.NewReplacer("/", ".").Replace(t.PkgPath()) + "." + t.Name()
}

// model is the schema of a named type.
func (d *definitions) model(t reflect.Type, name string) spec.Schema {
	schema := spec.Schema{}
	doc := docOf(t)
	schema.Description = doc[""]
	if value, ok := reflect.Zero(t).Interface().(scalar); ok {
		schema.Description = scalarDocs[name]
		d.scalar(value, &schema)
		return schema
	}
	schema.Type = spec.StringOrArray{"object"}
	schema.Properties = map[string]spec.Schema{}
	d.fields(t, name, doc, &schema)
	if d.relations.atomicMap(name) {
		schema.AddExtension("x-kubernetes-map-type", "atomic")
	}
	return schema
}

// scalarDocs describes the types that are written as one value; they say nothing of themselves.
var scalarDocs = map[string]string{
	"io.k8s.apimachinery.pkg.api.resource.Quantity": "Quantity is a number with a suffix that scales it: " +
		"m for a thousandth; k, M, G, T, P, E for powers of a thousand; Ki, Mi, Gi, Ti, Pi, Ei for powers of 1024; " +
		"or an exponent as in 1e3. Examples: 500m, 2, 128Mi.",
	"io.k8s.apimachinery.pkg.util.intstr.IntOrString": "IntOrString is a whole number or a string: a port's number or name, an amount or a percentage.",
	"io.k8s.apimachinery.pkg.apis.meta.v1.Time":       "Time is a moment in RFC 3339 form, to the second.",
	"io.k8s.apimachinery.pkg.apis.meta.v1.MicroTime":  "MicroTime is a moment in RFC 3339 form, to the microsecond.",
}

func (d *definitions) scalar(value scalar, schema *spec.Schema) {
	schema.Type, schema.Format = value.OpenAPISchemaType(), value.OpenAPISchemaFormat()
	types, ok := value.(alternative)
	if !ok || d.dialect == version2Dialect {
		return
	}
	schema.Type = nil
	for _, t := range types.OpenAPIV3OneOfTypes() {
		schema.OneOf = append(schema.OneOf, spec.Schema{SchemaProps: spec.SchemaProps{Type: spec.StringOrArray{t}}})
	}
}

func docOf(t reflect.Type) map[string]string {
	if d, ok := reflect.Zero(t).Interface().(described); ok {
		return d.SwaggerDoc()
	}
	return nil
}

// fields adds the fields of a struct, those of inlined structs among them.
func (d *definitions) fields(t reflect.Type, name string, doc map[string]string, schema *spec.Schema) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if tag == "-" || !f.IsExported() {
			continue
		}
		if tag == "" {
			inlined := deref(f.Type)
			d.fields(inlined, name, docOf(inlined), schema)
			continue
		}
		property := d.property(f.Type)
		property.Description = doc[tag]
		describePatch(f, &property)
		d.relations.describe(name, tag, &property)
		if d.dialect == version3Dialect {
			property.Default = d.relations.defaultOf(name, tag)
		}
		schema.Properties[tag] = property
		if required(f, name, tag, options) {
			schema.Required = append(schema.Required, tag)
		}
	}
}

func deref(t reflect.Type) reflect.Type {
	if t.Kind() == reflect.Pointer {
		return t.Elem()
	}
	return t
}

// describePatch tells clients how a strategic merge patch treats the field.
func describePatch(f reflect.StructField, property *spec.Schema) {
	if key := f.Tag.Get("patchMergeKey"); key != "" {
		property.AddExtension("x-kubernetes-patch-merge-key", key)
	}
	if strategy := f.Tag.Get("patchStrategy"); strategy != "" {
		property.AddExtension("x-kubernetes-patch-strategy", strategy)
	}
}

// required tells whether a field must be written: it is one that is not left out when it is empty.
func required(f reflect.StructField, model, name, options string) bool {
	if strings.Contains(options, "omitempty") || strings.Contains(options, "omitzero") {
		return false
	}
	return !optional[model+"."+name]
}

// optional lists the fields that may be left out although they are always written: their Go types say
// so in a comment only.
var optional = map[string]bool{
	"io.k8s.api.core.v1.ContainerImage.names":               true,
	"io.k8s.api.core.v1.Event.reportingComponent":           true,
	"io.k8s.api.core.v1.Event.reportingInstance":            true,
	"io.k8s.api.core.v1.GRPCAction.service":                 true,
	"io.k8s.api.core.v1.ProjectedVolumeSource.sources":      true,
	"io.k8s.api.core.v1.TypedLocalObjectReference.apiGroup": true,
	"io.k8s.api.core.v1.TypedObjectReference.apiGroup":      true,
	"io.k8s.api.discovery.v1.EndpointSlice.ports":           true,
}

// property is the schema of a value of the type, where it is used.
func (d *definitions) property(t reflect.Type) spec.Schema {
	t = deref(t)
	if _, ok := reflect.Zero(t).Interface().(scalar); ok || t.Kind() == reflect.Struct {
		return *spec.RefSchema(refPrefix + d.add(t))
	}
	switch t.Kind() {
	case reflect.String:
		return *spec.StringProperty()
	case reflect.Bool:
		return *spec.BooleanProperty()
	case reflect.Int32, reflect.Uint32, reflect.Int16, reflect.Uint16, reflect.Int8, reflect.Uint8:
		return *spec.Int32Property()
	case reflect.Int64, reflect.Uint64, reflect.Int, reflect.Uint:
		return *spec.Int64Property()
	case reflect.Float32, reflect.Float64:
		return *spec.Float64Property()
	case reflect.Slice:
		if t.Elem().Kind() == reflect.Uint8 {
			return *spec.StrFmtProperty("byte")
		}
		items := d.property(t.Elem())
		return *spec.ArrayProperty(&items)
	case reflect.Map:
		values := d.property(t.Elem())
		return *spec.MapProperty(&values)
	default:
		// The kinds' types hold nothing else; a new one must be thought about.
		panic(fmt.Sprintf("openapi: no schema for the Go type %s", t))
	}
}
