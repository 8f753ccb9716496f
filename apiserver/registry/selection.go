package registry

import (
	"fmt"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

const (
	nameField      = "metadata.name"
	namespaceField = "metadata.namespace"
	nodeNameField  = "spec.nodeName"
)

// selection tells the objects that a list, watch or deletion of a collection is about.
type selection struct {
	kind      *kind
	namespace string // empty: all
	labels    labels.Selector
	fields    fields.Selector
}

// newSelection parses the selectors of opts. A field that the kind can't be selected by is an error.
func newSelection(k *kind, namespace string, opts *metav1.ListOptions) (selection, error) {
	s := selection{kind: k, namespace: namespace, labels: labels.Everything(), fields: fields.Everything()}
	var err error
	if opts.LabelSelector != "" {
		if s.labels, err = labels.Parse(opts.LabelSelector); err != nil {
			return s, apierrors.NewBadRequest(fmt.Sprintf("unable to parse the label selector %q: %v", opts.LabelSelector, err))
		}
	}
	if opts.FieldSelector != "" {
		if s.fields, err = fields.ParseSelector(opts.FieldSelector); err != nil {
			return s, apierrors.NewBadRequest(fmt.Sprintf("unable to parse the field selector %q: %v", opts.FieldSelector, err))
		}
	}
	for _, r := range s.fields.Requirements() {
		if !k.selectable(r.Field) {
			return s, apierrors.NewBadRequest(fmt.Sprintf("Unable to find %q that match label selector %q, field selector %q: field label not supported: %s",
				k.GroupVersionResource.String(), opts.LabelSelector, opts.FieldSelector, r.Field))
		}
	}
	return s, nil
}

// selectable tells whether a field selector may name the field.
func (k *kind) selectable(field string) bool {
	if field == nameField || field == namespaceField && k.Namespaced {
		return true
	}
	_, ok := k.fields[field]
	return ok
}

// all tells that the selectors leave nothing out within the namespace.
func (s selection) all() bool { return s.labels.Empty() && s.fields.Empty() }

// prefix starts the cache keys of all objects that the selection can have.
func (s selection) prefix() string {
	if s.namespace == "" {
		return ""
	}
	return s.namespace + "/"
}

func (s selection) matches(e *entry) bool {
	if s.namespace != "" && !strings.HasPrefix(e.key, s.namespace+"/") {
		return false
	}
	return s.matchesObject(e.object)
}

func (s selection) matchesObject(obj Object) bool {
	if !s.labels.Empty() && !s.labels.Matches(labels.Set(obj.GetLabels())) {
		return false
	}
	return s.fields.Empty() || s.fields.Matches(fieldView{s.kind, obj})
}

// trigger is the value that the selection pins, by which changes find their watchers.
func (s selection) trigger() trigger {
	if _, ok := s.kind.fields[nodeNameField]; ok {
		if value, pinned := s.fields.RequiresExactMatch(nodeNameField); pinned {
			return trigger{nodeNameField, value}
		}
	}
	if value, pinned := s.fields.RequiresExactMatch(nameField); pinned {
		return trigger{nameField, value}
	}
	return trigger{}
}

// fieldView shows an object's selectable fields. It is a fields.Fields.
type fieldView struct {
	kind   *kind
	object Object
}

// Has tells whether the kind has the field.
func (v fieldView) Has(field string) bool { return v.kind.selectable(field) }

// Get gives the field's value.
func (v fieldView) Get(field string) string {
	switch field {
	case nameField:
		return v.object.GetName()
	case namespaceField:
		return v.object.GetNamespace()
	}
	if get, ok := v.kind.fields[field]; ok {
		return get(v.object)
	}
	return ""
}
