package openapi

import (
	"net/http/httptest"
	"testing"

	"k8s.io/cli-runtime/pkg/resource"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/openapi3"
	"k8s.io/client-go/rest"

	kinds "github.com/ctlplane/ctlplane/api/resource"
)

// serve starts a server with nothing but the documents.
func serve(t *testing.T) *discovery.DiscoveryClient {
	t.Helper()
	handler, err := NewHandler("v1.33.0")
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return discovery.NewDiscoveryClientForConfigOrDie(&rest.Config{Host: server.URL})
}

// TestStrictValidation asks as kubectl does before it lets the server check a manifest's fields.
func TestStrictValidation(t *testing.T) {
	client := serve(t)
	verifier := resource.NewQueryParamVerifierV3(nil, client.OpenAPIV3(), resource.QueryParamFieldValidation)
	for _, info := range kinds.All() {
		if err := verifier.HasSupport(info.GroupVersionKind()); err != nil {
			t.Errorf("%s: %v", info.Kind, err)
		}
	}
}

func TestRoot(t *testing.T) {
	client := serve(t)
	versions, err := openapi3.NewRoot(client.OpenAPIV3()).GroupVersions()
	if err != nil {
		t.Fatal(err)
	}
	if want := groupVersions(); len(versions) != len(want) {
		t.Errorf("documents of %v, want %v", versions, want)
	}
}

// TestVersion2 reads the v2 document as old clients do, in protobuf.
func TestVersion2(t *testing.T) {
	document, err := serve(t).OpenAPISchema()
	if err != nil {
		t.Fatal(err)
	}
	if document.GetSwagger() != "2.0" || len(document.GetPaths().GetPath()) == 0 {
		t.Errorf("not a v2 document: swagger %q", document.GetSwagger())
	}
}
