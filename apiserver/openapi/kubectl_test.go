package openapi

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"k8s.io/client-go/openapi3"
	explain "k8s.io/kubectl/pkg/explain/v2"
	"k8s.io/kubectl/pkg/util/openapi"
	"k8s.io/kubectl/pkg/validation"

	kinds "github.com/ctlplane/ctlplane/api/resource"
)

// TestExplain runs kubectl explain on every kind, and into some.
func TestExplain(t *testing.T) {
	client := serve(t).OpenAPIV3()
	for _, info := range kinds.All() {
		var out bytes.Buffer
		if err := explain.PrintModelDescription(nil, &out, client, info.GroupVersionResource, false, 0, "plaintext"); err != nil {
			t.Errorf("%s: %v", info.Resource, err)
			continue
		}
		if !strings.Contains(out.String(), "KIND:       "+info.Kind) || !strings.Contains(out.String(), "metadata\t<ObjectMeta>") {
			t.Errorf("%s: explained as\n%s", info.Resource, out.String())
		}
	}
	for path, want := range map[string]string{
		"spec.template.spec.containers.livenessProbe.httpGet.port": "FIELD: port <IntOrString>",
		"spec.template.spec.containers.resources.limits":           "FIELD: limits <map[string]Quantity>",
		"spec": "selector\t<LabelSelector> -required-",
	} {
		var out bytes.Buffer
		deployments := schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
		if err := explain.PrintModelDescription(strings.Split(path, "."), &out, client, deployments, false, 0, "plaintext"); err != nil {
			t.Errorf("%s: %v", path, err)
		} else if !strings.Contains(out.String(), want) {
			t.Errorf("%s: no %q in\n%s", path, want, out.String())
		}
	}
}

// TestApply makes the three-way patch of kubectl apply by our schema: containers are told apart by
// name, and one that is not in the manifest's last version is left alone.
func TestApply(t *testing.T) {
	document, err := openapi3.NewRoot(serve(t).OpenAPIV3()).GVSpec(corev1.SchemeGroupVersion)
	if err != nil {
		t.Fatal(err)
	}
	models := document.Components.Schemas
	meta := strategicpatch.PatchMetaFromOpenAPIV3{Schema: models["io.k8s.api.core.v1.Pod"], SchemaList: models}
	original := `{"spec":{"containers":[{"name":"web","image":"web:1"}]}}`
	modified := `{"spec":{"containers":[{"name":"web","image":"web:2"}]}}`
	current := `{"spec":{"containers":[{"name":"proxy","image":"proxy:1"},{"name":"web","image":"web:1"}]}}`
	patch, err := strategicpatch.CreateThreeWayMergePatch([]byte(original), []byte(modified), []byte(current), meta, true)
	if err != nil {
		t.Fatal(err)
	}
	patched, err := strategicpatch.StrategicMergePatchUsingLookupPatchMeta([]byte(current), patch, meta)
	if err != nil {
		t.Fatal(err)
	}
	var pod corev1.Pod
	if err := json.Unmarshal(patched, &pod); err != nil {
		t.Fatal(err)
	}
	if len(pod.Spec.Containers) != 2 || pod.Spec.Containers[0].Image != "proxy:1" || pod.Spec.Containers[1].Image != "web:2" {
		t.Errorf("patch %s gives %s", patch, patched)
	}
}

type resources struct{ parser *openapi.CachedOpenAPIParser }

func (r resources) OpenAPISchema() (openapi.Resources, error) { return r.parser.Parse() }

// TestClientValidation checks manifests as a kubectl does that lets no server do it: by the v2 document.
func TestClientValidation(t *testing.T) {
	schema := validation.NewSchemaValidation(resources{openapi.NewOpenAPIParser(serve(t))})
	for _, test := range []struct{ name, manifest, wrong string }{
		{"good", `{"apiVersion":"apps/v1","kind":"Deployment","metadata":{"name":"web"},"spec":{"replicas":3,
			"selector":{"matchLabels":{"app":"web"}},"template":{"metadata":{"labels":{"app":"web"}},
			"spec":{"containers":[{"name":"web","image":"web","ports":[{"containerPort":80}],
			"livenessProbe":{"httpGet":{"port":80}},"resources":{"limits":{"cpu":"1"}}}]}}}}`, ""},
		{"port by name", `{"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},"spec":{"ports":[{"port":80,"targetPort":"http"}]}}`, ""},
		{"unknown field", `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web"},"spec":{"containers":[{"name":"web","img":"web"}]}}`,
			`unknown field "img" in io.k8s.api.core.v1.Container`},
		{"missing field", `{"apiVersion":"v1","kind":"Pod","metadata":{"name":"web"},"spec":{}}`,
			`missing required field "containers" in io.k8s.api.core.v1.PodSpec`},
		{"wrong type", `{"apiVersion":"apps/v1","kind":"ReplicaSet","metadata":{"name":"web"},"spec":{"replicas":"3"}}`,
			`invalid type for io.k8s.api.apps.v1.ReplicaSetSpec.replicas: got "string", expected "integer"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := schema.ValidateBytes([]byte(test.manifest))
			if test.wrong == "" && err != nil {
				t.Errorf("refused: %v", err)
			}
			if test.wrong != "" && (err == nil || !strings.Contains(err.Error(), test.wrong)) {
				t.Errorf("got %v, want %s", err, test.wrong)
			}
		})
	}
}
