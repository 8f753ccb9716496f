package rest_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/ctlplane/ctlplane/apiserver/registry"
)

// TestObjectIsBoundedByItsDataNotItsJSON has data within the limit whose JSON is twice as long.
func TestObjectIsBoundedByItsDataNotItsJSON(t *testing.T) {
	c := newCluster(t, nil)
	lines := strings.Repeat("\n", 800_000)
	object := corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Name: "q", Namespace: "default"}, Data: map[string]string{"k": lines},
	}
	inJSON, err := json.Marshal(object)
	if err != nil || len(inJSON) < registry.MaxObjectBytes {
		t.Fatalf("%d bytes, %v", len(inJSON), err)
	}
	inYAML, err := yaml.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	message, err := object.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	unknown := fmt.Appendf(nil, "k8s\x00\x0a\x0f\x0a\x02v1\x12\x09ConfigMap\x12")
	for size := len(message); ; size >>= 7 {
		if size < 0x80 {
			unknown = append(unknown, byte(size))
			break
		}
		unknown = append(unknown, byte(size)|0x80)
	}
	unknown = append(unknown, message...)
	for contentType, body := range map[string]string{
		registry.MediaJSON: string(inJSON), registry.MediaYAML: string(inYAML), registry.MediaProtobuf: string(unknown),
	} {
		if got := c.ask(t, "admin", "POST", mapsPath, body, "Content-Type", contentType); got.code != http.StatusCreated {
			t.Errorf("create from %s: %d %.300s", contentType, got.code, got.body)
		}
		read := c.ask(t, "admin", "GET", mapsPath+"/q", "")
		if got := c.ask(t, "admin", "PUT", mapsPath+"/q", read.body, "Content-Type", registry.MediaJSON); got.code != http.StatusOK {
			t.Errorf("what was read can't be written back: %d %.300s", got.code, got.body)
		}
		if got := c.ask(t, "admin", "DELETE", mapsPath+"/q", ""); got.code != http.StatusOK {
			t.Fatalf("%d %.300s", got.code, got.body)
		}
	}
	applied := c.ask(t, "admin", "PATCH", mapsPath+"/q?fieldManager=me", string(inYAML), "Content-Type", "application/apply-patch+yaml")
	if applied.code != http.StatusCreated {
		t.Errorf("apply: %d %.300s", applied.code, applied.body)
	}
	patch := c.ask(t, "admin", "PATCH", mapsPath+"/q", string(inJSON), "Content-Type", "application/merge-patch+json")
	if patch.code != http.StatusOK {
		t.Errorf("patch: %d %.300s", patch.code, patch.body)
	}
}

// TestTooLargeSaysWhatIs tells apart a body, data and a stored object that are too large.
func TestTooLargeSaysWhatIs(t *testing.T) {
	c := newCluster(t, nil)
	keys := map[string]string{}
	for i := range 120_000 {
		keys[fmt.Sprintf("key-%07d", i)] = ""
	}
	many, err := json.Marshal(map[string]any{"metadata": map[string]any{"name": "many"}, "data": keys})
	if err != nil || len(many) > registry.MaxBodyBytes {
		t.Fatalf("%d bytes, %v", len(many), err)
	}
	for name, x := range map[string]struct {
		kind, body, text string
		code             int
	}{
		"body":           {"configmaps", strings.Repeat("x", 4_000_000), "limit is 3145728 bytes (3 MiB)", 413},
		"configmap data": {"configmaps", fmt.Sprintf(`{"metadata":{"name":"a"},"data":{"k":"%s"}}`, strings.Repeat("x", 1<<20+1)), "Too long: may not be more than 1048576 bytes", 422},
		"secret data":    {"secrets", fmt.Sprintf(`{"metadata":{"name":"a"},"stringData":{"k":"%s"}}`, strings.Repeat("x", 1<<20+1)), "Too long: may not be more than 1048576 bytes", 422},
		"what is stored": {"configmaps", string(many), "as it is stored, the limit is 1572864 (1.5 MiB)", 413},
	} {
		got := c.ask(t, "admin", "POST", "/api/v1/namespaces/default/"+x.kind, x.body, "Content-Type", registry.MediaJSON)
		if got.code != x.code || !strings.Contains(got.body, x.text) {
			t.Errorf("%s: %d %.300s", name, got.code, got.body)
		}
	}
}
