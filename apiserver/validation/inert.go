package validation

import (
	"fmt"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// maxInertTold is of how many fields one answer tells that they do nothing.
const maxInertTold = 16

// fields says of each field of a Go type of the API, by its name in JSON, what becomes of it:
//
//  1. An honoured field does what Kubernetes documents, or it says something and has nothing to do.
//  2. A refused field is one that other checks of this package or of the registry let nobody set.
//  3. An inert field is taken and kept but does nothing, or not all of it; whoever sets it is told.
//
// Every field of every type that can be reached from an object through honoured fields is in one of the three. A
// test holds the tables to that, so that a field that is new in Kubernetes is decided on.
type fields struct {
	honoured, refused string // names, separated by spaces
	inert             map[string]inertField
	keys              []inertKeys // of the labels and annotations of the type's objects
	names             []string    // of all fields, in the type's order; set by treat
}

// inertField is a field that does less than it says.
type inertField struct {
	// but is what a user should know, after "spec.field: ".
	but string
	// unless tells the values that need nothing done; nil: there are none. The struct is what the field is in.
	unless func(value, in reflect.Value) bool
}

// treatments is what becomes of the fields of each type. Types of apimachinery, such as metadata and quantities, are
// not in it: they are values.
var treatments = map[reflect.Type]fields{}

// treat says what becomes of the fields of T.
func treat[T any](f fields) {
	kind := reflect.TypeFor[T]()
	for i := range kind.NumField() {
		f.names = append(f.names, jsonName(kind.Field(i)))
	}
	treatments[kind] = f
}

// Inert tells which fields that obj sets do nothing here, in one line each. Old is what obj replaces, nil for a new object:
// of what was so before nothing is said again.
func Inert(obj, old runtime.Object) []string {
	before := &inertWalk{}
	if value := reflect.ValueOf(old); old != nil && !value.IsNil() {
		before.value(value, nil)
	}
	now := &inertWalk{known: before.found}
	now.value(reflect.ValueOf(obj), nil)
	lines := now.lines
	if more := len(lines) - maxInertTold; more > 0 {
		lines = append(slices.Clone(lines[:maxInertTold]), fmt.Sprintf("%d more fields do nothing here", more))
	}
	return lines
}

// inertWalk goes through all that an object sets.
type inertWalk struct {
	known, found []inertKey
	lines        []string
}

// inertKey is a field in whatever place: a line is told for the first of them.
type inertKey struct {
	in   reflect.Type
	name string
}

func (w *inertWalk) value(value reflect.Value, path *field.Path) {
	switch value.Kind() {
	case reflect.Pointer:
		if !value.IsNil() {
			w.value(value.Elem(), path)
		}
	case reflect.Slice:
		if kind := value.Type().Elem(); kind.Kind() == reflect.Struct || kind.Kind() == reflect.Pointer {
			for i := range value.Len() {
				w.value(value.Index(i), path.Index(i))
			}
		}
	case reflect.Struct:
		if treatment, ok := treatments[value.Type()]; ok {
			w.object(value, treatment, path)
		}
	}
}

func (w *inertWalk) object(value reflect.Value, treatment fields, path *field.Path) {
	w.metadata(value, treatment.keys, path)
	for i, name := range treatment.names {
		set := value.Field(i)
		if set.IsZero() || set.Kind() == reflect.Slice && set.Len() == 0 {
			continue
		}
		if name == "" {
			w.value(set, path) // the fields of what is embedded are the object's
			continue
		}
		path := child(path, name)
		inert, ok := treatment.inert[name]
		switch {
		case !ok:
			w.value(set, path)
		case inert.unless == nil || !inert.unless(set, value):
			w.tell(inertKey{value.Type(), name}, path, inert.but)
		}
	}
}

func (w *inertWalk) tell(key inertKey, path *field.Path, but string) {
	if slices.Contains(w.found, key) {
		return
	}
	w.found = append(w.found, key)
	if !slices.Contains(w.known, key) {
		w.lines = append(w.lines, path.String()+": "+but)
	}
}

func child(path *field.Path, name string) *field.Path {
	if path == nil {
		return field.NewPath(name)
	}
	return path.Child(name)
}

// jsonName is a field's name in JSON; empty for what is embedded.
func jsonName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name
}

// equals tells that a field, or what it points to, has one of the values.
func equals(values ...any) func(value, in reflect.Value) bool {
	return func(value, _ reflect.Value) bool {
		return slices.Contains(values, reflect.Indirect(value).Interface())
	}
}
