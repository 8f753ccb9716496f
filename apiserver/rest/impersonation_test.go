package rest_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestImpersonationIsRefused asks to act as another by each header that there is, on paths of each sort: nothing may be done
// with the caller's own rights instead.
func TestImpersonationIsRefused(t *testing.T) {
	c := newCluster(t, nil)
	c.ask(t, "admin", "POST", mapsPath, mapBody, "Content-Type", "application/json")
	for _, header := range []string{"Impersonate-User", "impersonate-group", "Impersonate-Uid", "Impersonate-Extra-scopes", "Impersonate-Extra-a%2fb", "Impersonate-Anything"} {
		for _, path := range []string{"/api", "/apis/apps/v1", "/openapi/v3", "/version", "/readyz", "/nothing", "/api/v1/namespaces/default/pods/p/log"} {
			got := c.ask(t, "admin", "GET", path, "", header, "bob")
			if got.code != http.StatusForbidden || got.header.Get("Content-Type") != "text/plain; charset=utf-8" || !strings.Contains(got.body, "does not impersonate users") {
				t.Errorf("%s with %s: %d %s", path, header, got.code, got.body)
			}
		}
		for _, x := range [][2]string{{"DELETE", mapsPath + "/a"}, {"GET", mapsPath}, {"GET", mapsPath + "?watch=1"}, {"POST", mapsPath}} {
			got := c.ask(t, "admin", x[0], x[1], "", header, "bob")
			var status metav1.Status
			if err := json.Unmarshal([]byte(got.body), &status); err != nil {
				t.Errorf("%s %s: %v: %s", x[0], x[1], err, got.body)
			}
			if got.code != http.StatusForbidden || status.Reason != metav1.StatusReasonForbidden || !strings.Contains(status.Message, "does not impersonate users") {
				t.Errorf("%s %s with %s: %d %s", x[0], x[1], header, got.code, got.body)
			}
		}
	}
	if got := c.ask(t, "admin", "DELETE", mapsPath+"/a", "", "Impersonate-User", "bob"); !strings.Contains(got.body, `users \"bob\" is forbidden`) {
		t.Errorf("%s", got.body)
	}
	newKubectl(t, c).reject([]string{"Forbidden", "does not impersonate users", "--as"}, "delete", "configmap", "a", "--as=bob")
	if got := c.ask(t, "admin", "GET", mapsPath+"/a", ""); got.code != http.StatusOK {
		t.Errorf("the object is gone: %d", got.code)
	}
	if got := c.ask(t, "wrong", "GET", mapsPath, "", "Impersonate-User", "bob"); got.code != http.StatusUnauthorized {
		t.Errorf("nobody who impersonates: %d", got.code)
	}
}
