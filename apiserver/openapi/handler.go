package openapi

import (
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/cached"
	"k8s.io/kube-openapi/pkg/handler3"
	"k8s.io/kube-openapi/pkg/spec3"

	"github.com/ctlplane/ctlplane/api/resource"
)

// NewHandler serves /openapi/v2, /openapi/v3 and the documents of the group versions below it, as
// JSON or protobuf. version is the server's, as /version tells it. It does next to nothing until it is
// asked: each document is made once, when it is first wanted.
func NewHandler(version string) http.Handler {
	service := handler3.NewOpenAPIService()
	for _, gv := range groupVersions() {
		service.UpdateGroupVersionLazy(strings.TrimPrefix(root(gv), "/"), cached.Once(cached.Func(func() (*spec3.OpenAPI, string, error) {
			document, err := version3(gv, version)
			return document, gv.String(), err
		})))
	}
	mux := http.NewServeMux()
	mux.Handle("GET /openapi/v2", newVersion2(version))
	mux.HandleFunc("GET /openapi/v3", service.HandleDiscovery)
	for _, gv := range groupVersions() {
		// Path by path, because the service answers for one that it does not know with nothing, and 200.
		mux.HandleFunc("GET /openapi/v3"+root(gv), service.HandleGroupVersion)
	}
	return mux
}

// groupVersions lists the group versions that are served, core first.
func groupVersions() []schema.GroupVersion {
	var served []schema.GroupVersion
	seen := map[schema.GroupVersion]bool{}
	for _, info := range resource.All() {
		if gv := info.GroupVersion(); !seen[gv] {
			seen[gv] = true
			served = append(served, gv)
		}
	}
	return served
}
