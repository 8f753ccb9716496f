package rest_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestWhatIsNotYetSaysSo asks for what Kubernetes has and this server does not, and for what nobody has: clients know both by
// the same words and reason.
func TestWhatIsNotYetSaysSo(t *testing.T) {
	c := newCluster(t, nil)
	const known = "the server could not find the requested resource"
	pod := "/api/v1/namespaces/default/pods/p"
	for _, x := range []struct{ method, path, more string }{
		{"POST", pod + "/exec?command=sh", ": this server does not have pods/exec yet"},
		{"GET", pod + "/attach", ": this server does not have pods/attach yet"},
		{"POST", pod + "/portforward", ": this server does not have pods/portforward yet"},
		{"GET", pod + "/proxy/some/path", ": this server does not have pods/proxy yet"},
		{"PATCH", pod + "/ephemeralcontainers", ": this server does not have pods/ephemeralcontainers yet"},
		{"PATCH", pod + "/resize", ": this server does not have pods/resize yet"},
		{"GET", "/api/v1/nodes/n/proxy/metrics", ": this server does not have nodes/proxy yet"},
		{"POST", "/api/v1/namespaces/default/serviceaccounts/default/token", ": this server does not have serviceaccounts/token yet"},
		{"GET", "/apis/batch/v1/namespaces/default/jobs", ": this server does not have jobs of batch/v1 yet"},
		{"POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", ": this server does not have selfsubjectaccessreviews of authorization.k8s.io/v1 yet"},
		{"GET", "/apis/networking.k8s.io/v1/ingresses", ": this server does not have ingresses of networking.k8s.io/v1 yet"},
		{"GET", "/apis/networking.k8s.io/v1/namespaces/default/networkpolicies/x/status", ": this server does not have networkpolicies of networking.k8s.io/v1 yet"},
		{"POST", "/apis/autoscaling/v2/namespaces/default/horizontalpodautoscalers", ": this server does not have horizontalpodautoscalers of autoscaling/v2 yet"},
		{"GET", "/api/v1/persistentvolumes/x", ": this server does not have persistentvolumes of v1 yet"},
		{"GET", "/apis/extensions/v1beta1/ingresses", ""},
		{"GET", "/apis/batch/v1", ""},
		{"GET", "/api/v1/nothings", ""},
		{"GET", "/apis/example.com/v1/jobs", ""},
		{"GET", pod + "/nothing", ""},
		{"GET", "/api/v1/namespaces/default/nodes/x", ""},
	} {
		got := c.ask(t, "admin", x.method, x.path, "", "Content-Type", "application/json")
		var status metav1.Status
		if err := json.Unmarshal([]byte(got.body), &status); err != nil {
			t.Errorf("%s: %v: %s", x.path, err, got.body)
		}
		if got.code != http.StatusNotFound || status.Reason != metav1.StatusReasonNotFound || status.Message != known+x.more || status.Details.Name != "" {
			t.Errorf("%s %s: %d %q", x.method, x.path, got.code, status.Message)
		}
	}
}

// TestKubectlIsToldWhatIsNotYet has commands of kubectl's that go to paths without looking whether they are there.
func TestKubectlIsToldWhatIsNotYet(t *testing.T) {
	c := newCluster(t, nil)
	k := newKubectl(t, c)
	k.run("create", "serviceaccount", "robot")
	k.reject([]string{"this server does not have serviceaccounts/token yet"}, "create", "token", "robot")
	k.reject([]string{"this server does not have jobs of batch/v1 yet"}, "create", "job", "j", "--image=i")
	k.reject([]string{"this server does not have selfsubjectaccessreviews of authorization.k8s.io/v1 yet"}, "auth", "can-i", "get", "pods")
	k.run("run", "p", "--image=i")
	for _, command := range [][]string{{"exec", "p", "--", "sh"}, {"exec", "-it", "p", "--", "sh"}, {"attach", "p"}} {
		k.reject([]string{"this server does not have pods/" + command[0] + " yet"}, command...)
	}
	k.reject([]string{`the server doesn't have a resource type "jobs"`}, "get", "jobs")
	if out, err := k.try("get", "pods"); err != nil || !strings.Contains(out, "Pending") {
		t.Errorf("%v: %s", err, out)
	}
}
