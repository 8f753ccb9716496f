package rest

import (
	"net/http/httptest"
	"strings"
	"testing"
)

func TestParsePath(t *testing.T) {
	for path, want := range map[string]string{
		"/api/v1/pods":                                   "|v1|pods|||",
		"/api/v1/namespaces":                             "|v1|namespaces|||",
		"/api/v1/namespaces/a":                           "|v1|namespaces||a|",
		"/api/v1/namespaces/a/status":                    "|v1|namespaces||a|status",
		"/api/v1/namespaces/a/finalize":                  "|v1|namespaces||a|finalize",
		"/api/v1/namespaces/a/pods":                      "|v1|pods|a||",
		"/api/v1/namespaces/a/pods/":                     "|v1|pods|a||",
		"/api/v1/namespaces/a/pods/p":                    "|v1|pods|a|p|",
		"/api/v1/namespaces/a/pods/p/log":                "|v1|pods|a|p|log",
		"/apis/apps/v1/namespaces/a/deployments/d/scale": "apps|v1|deployments|a|d|scale",
		"/apis/apps/v1/namespaces/status/deployments":    "apps|v1|deployments|status||",
		"/api/v1/nodes/n/status":                         "|v1|nodes||n|status",
		"/apis/coordination.k8s.io/v1/leases":            "coordination.k8s.io|v1|leases|||",
		"/api/v1":                                        "none",
		"/apis/apps/v1":                                  "none",
		"/api/v1//pods":                                  "none",
		"/api/v1/namespaces//pods":                       "none",
		"/api/v1/namespaces/a/pods/p/log/more":           "none",
		"/version":                                       "none",
		"/":                                              "none",
		"":                                               "none",
	} {
		got := "none"
		if p, ok := parsePath(path); ok {
			got = strings.Join([]string{p.Group, p.Version, p.Resource, p.namespace, p.name, p.subresource}, "|")
		}
		if got != want {
			t.Errorf("%s: %s, wanted %s", path, got, want)
		}
	}
}

// FuzzParsePath holds that what is read from a path names only what stands in it.
func FuzzParsePath(f *testing.F) {
	for _, seed := range []string{"/api/v1/namespaces/a/pods/p/log", "/apis/apps/v1/deployments", "//", "/api/v1/namespaces/a/status"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		p, ok := parsePath(path)
		if !ok {
			return
		}
		if p.Resource == "" || p.Version == "" && !strings.Contains(path, "//") || p.name == "" && p.subresource != "" {
			t.Errorf("%q: %+v", path, p)
		}
		for _, part := range []string{p.Group, p.Version, p.Resource, p.namespace, p.name, p.subresource} {
			if strings.Contains(part, "/") || !strings.Contains(path, part) {
				t.Errorf("%q: part %q", path, part)
			}
		}
	})
}

// FuzzAccept holds that no Accept header is more than refused.
func FuzzAccept(f *testing.F) {
	for _, seed := range []string{"application/json;as=Table;v=v1;g=meta.k8s.io,application/json", "*/*;q=0.1", ";;,,"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, accept string) {
		r := httptest.NewRequest("GET", "/api/v1/pods", nil)
		r.Header.Set("Accept", accept)
		if got, err := negotiate(r, true); err == nil && got.encoder == nil {
			t.Errorf("%q: no encoder", accept)
		}
		aggregatedVersion(r)
	})
}
