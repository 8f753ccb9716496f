package openapi

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"

	"k8s.io/client-go/openapi/openapitest"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// changed lists what Kubernetes itself has changed since the documents that client-go carries, v1.26.
var changed = map[string]bool{
	"io.k8s.api.core.v1.HostAlias required":                             true, // ip
	"io.k8s.api.core.v1.PodIP required":                                 true, // ip
	"io.k8s.api.core.v1.PodResourceClaim.source":                        true, // became two fields
	"io.k8s.api.core.v1.PersistentVolumeClaimSpec.resources":            true, // has a type of its own
	"io.k8s.apimachinery.pkg.apis.meta.v1.LabelSelectorRequirement.key": true, // was never a list to merge
}

// TestLikeKubernetes compares our documents with those of a real API server: what it has, we have, of
// the same form, merged the same way.
func TestLikeKubernetes(t *testing.T) {
	paths, err := openapitest.NewEmbeddedFileClient().Paths()
	if err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, gv := range groupVersions() {
		path, ok := paths[strings.TrimPrefix(root(gv), "/")]
		if !ok {
			continue // not among the documents that client-go carries
		}
		encoded, err := path.Schema("application/json")
		if err != nil {
			t.Fatal(err)
		}
		theirs := decode(t, encoded)
		document, err := version3(gv, "test")
		if err != nil {
			t.Fatal(err)
		}
		if encoded, err = json.Marshal(document); err != nil {
			t.Fatal(err)
		}
		for name, our := range decode(t, encoded).Components.Schemas {
			if their, ok := theirs.Components.Schemas[name]; ok {
				compareModels(t, name, our, their)
				compared++
			}
		}
	}
	if compared < 200 {
		t.Errorf("compared %d models only", compared)
	}
}

func decode(t *testing.T, encoded []byte) *spec3.OpenAPI {
	t.Helper()
	document := &spec3.OpenAPI{}
	if err := json.Unmarshal(encoded, document); err != nil {
		t.Fatal(err)
	}
	return document
}

func compareModels(t *testing.T, name string, our, their *spec.Schema) {
	t.Helper()
	if form(*our) != form(*their) {
		t.Errorf("%s is %s, want %s", name, form(*our), form(*their))
	}
	if !reflect.DeepEqual(our.Required, their.Required) && !changed[name+" required"] {
		t.Errorf("%s requires %v, want %v", name, our.Required, their.Required)
	}
	for field, their := range their.Properties {
		at := name + "." + field
		if changed[at] {
			continue
		}
		our, ok := our.Properties[field]
		if !ok {
			t.Errorf("%s is missing", at)
			continue
		}
		if form(our) != form(their) {
			t.Errorf("%s is %s, want %s", at, form(our), form(their))
		}
		for _, key := range []string{"x-kubernetes-patch-strategy", "x-kubernetes-patch-merge-key"} {
			if our.Extensions[key] != their.Extensions[key] {
				t.Errorf("%s has %s %v, want %v", at, key, our.Extensions[key], their.Extensions[key])
			}
		}
		for _, key := range []string{"x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-map-type"} {
			if their.Extensions[key] != nil && !reflect.DeepEqual(our.Extensions[key], their.Extensions[key]) {
				t.Errorf("%s has %s %v, want %v", at, key, our.Extensions[key], their.Extensions[key])
			}
		}
	}
}

// form is what a schema says of a value's form, in one line.
func form(s spec.Schema) string {
	var b strings.Builder
	b.WriteString(strings.Join(s.Type, "|") + s.Format + s.Ref.String())
	for _, part := range s.AllOf {
		b.WriteString(form(part))
	}
	for _, part := range s.OneOf {
		b.WriteString(" or " + form(part))
	}
	if s.Items != nil && s.Items.Schema != nil {
		b.WriteString(" of " + form(*s.Items.Schema))
	}
	if s.AdditionalProperties != nil && s.AdditionalProperties.Schema != nil {
		b.WriteString(" to " + form(*s.AdditionalProperties.Schema))
	}
	return b.String()
}

// TestOperations compares the operations that we have with those of the same path of a real API server.
func TestOperations(t *testing.T) {
	paths, err := openapitest.NewEmbeddedFileClient().Paths()
	if err != nil {
		t.Fatal(err)
	}
	for _, gv := range groupVersions() {
		path, ok := paths[strings.TrimPrefix(root(gv), "/")]
		if !ok {
			continue
		}
		encoded, err := path.Schema("application/json")
		if err != nil {
			t.Fatal(err)
		}
		theirs := decode(t, encoded)
		ours, err := version3(gv, "test")
		if err != nil {
			t.Fatal(err)
		}
		for path, our := range ours.Paths.Paths {
			their, ok := theirs.Paths.Paths[path]
			if !ok {
				t.Errorf("%s is not Kubernetes'", path)
				continue
			}
			compareOperation(t, "GET "+path, our.Get, their.Get)
			compareOperation(t, "PUT "+path, our.Put, their.Put)
			compareOperation(t, "POST "+path, our.Post, their.Post)
			compareOperation(t, "PATCH "+path, our.Patch, their.Patch)
			if path != "/api/v1/namespaces" { // where we let many be deleted at once, and Kubernetes does not
				compareOperation(t, "DELETE "+path, our.Delete, their.Delete)
			}
		}
	}
}

func compareOperation(t *testing.T, at string, our, their *spec3.Operation) {
	t.Helper()
	if our == nil || their == nil {
		if our != their {
			t.Errorf("%s: there %v, here %v", at, their != nil, our != nil)
		}
		return
	}
	if our.OperationId != their.OperationId {
		t.Errorf("%s is %s, want %s", at, our.OperationId, their.OperationId)
	}
	if !reflect.DeepEqual(our.Tags, their.Tags) {
		t.Errorf("%s is tagged %v, want %v", at, our.Tags, their.Tags)
	}
	ourKind, theirKind := our.Extensions[kindsExtension], their.Extensions[kindsExtension]
	if !reflect.DeepEqual(ourKind, theirKind) {
		t.Errorf("%s is of %v, want %v", at, ourKind, theirKind)
	}
	if our.Extensions["x-kubernetes-action"] != their.Extensions["x-kubernetes-action"] {
		t.Errorf("%s is a %v, want %v", at, our.Extensions["x-kubernetes-action"], their.Extensions["x-kubernetes-action"])
	}
}
