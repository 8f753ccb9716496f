package openapi

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"k8s.io/cli-runtime/pkg/resource"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/openapi3"
	"k8s.io/client-go/rest"

	kinds "github.com/ctlplane/ctlplane/api/resource"
)

// shared is the handler of tests that only read: it makes its documents once.
var shared = sync.OnceValue(func() http.Handler { return NewHandler("v1.33.0") })

// serve starts a server with nothing but the documents.
func serve(t *testing.T) *discovery.DiscoveryClient {
	t.Helper()
	server := httptest.NewServer(shared())
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

// TestPaths asks for what is there in each form, and for what is not.
func TestPaths(t *testing.T) {
	handler := shared()
	for _, test := range []struct {
		path, accept string
		code         int
		contentType  string
	}{
		{"/openapi/v3", "", 200, "application/json"},
		{"/openapi/v3/api/v1", "application/json", 200, "application/json"},
		{"/openapi/v3/api/v1", "application/com.github.proto-openapi.spec.v3@v1.0+protobuf", 200, "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"},
		{"/openapi/v3/api/v1?hash=old", "application/json", 301, ""},
		{"/openapi/v3/apis/apps/v1", "", 200, "application/json"},
		{"/openapi/v3/apis/apps/v2", "", 404, ""},
		{"/openapi/v3/", "", 404, ""},
		{"/openapi/v3/api/v1", "text/html", 406, ""},
		{"/openapi/v2", "", 200, "application/json"},
		{"/openapi/v2", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf", 200, "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"},
		{"/openapi/v2", "text/html", 406, ""},
	} {
		request := httptest.NewRequest("GET", test.path, nil)
		request.Header.Set("Accept", test.accept)
		recorder := httptest.NewRecorder()
		handler.ServeHTTP(recorder, request)
		if recorder.Code != test.code {
			t.Errorf("%s as %q: %d, want %d", test.path, test.accept, recorder.Code, test.code)
		}
		if test.contentType != "" && recorder.Header().Get("Content-Type") != test.contentType {
			t.Errorf("%s as %q: got %q", test.path, test.accept, recorder.Header().Get("Content-Type"))
		}
	}
	post := httptest.NewRecorder()
	handler.ServeHTTP(post, httptest.NewRequest("POST", "/openapi/v2", nil))
	if post.Code != 405 {
		t.Errorf("POST: %d", post.Code)
	}
}

// TestNotModified asks again with the etag of the first answer.
func TestNotModified(t *testing.T) {
	handler := shared()
	for _, path := range []string{"/openapi/v2", "/openapi/v3", "/openapi/v3/apis/apps/v1"} {
		first := httptest.NewRecorder()
		handler.ServeHTTP(first, httptest.NewRequest("GET", path, nil))
		again := httptest.NewRequest("GET", path, nil)
		again.Header.Set("If-None-Match", first.Header().Get("Etag"))
		second := httptest.NewRecorder()
		handler.ServeHTTP(second, again)
		if second.Code != 304 {
			t.Errorf("%s: %d for an unchanged document", path, second.Code)
		}
	}
}

// TestStable makes the documents twice: masters must agree on their hashes.
func TestStable(t *testing.T) {
	for _, path := range []string{"/openapi/v2", "/openapi/v3"} {
		var bodies [2]string
		for i := range bodies {
			recorder := httptest.NewRecorder()
			NewHandler("v1.33.0").ServeHTTP(recorder, httptest.NewRequest("GET", path, nil))
			bodies[i] = recorder.Body.String()
		}
		if bodies[0] != bodies[1] {
			t.Errorf("%s differs between two servers", path)
		}
	}
}

// BenchmarkStart is what a master pays for the documents when it starts.
func BenchmarkStart(b *testing.B) {
	for b.Loop() {
		NewHandler("v1.33.0")
	}
}

// BenchmarkFirst is what the first client waits for: all v3 documents.
func BenchmarkFirst(b *testing.B) {
	for b.Loop() {
		NewHandler("v1.33.0").ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/openapi/v3", nil))
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
