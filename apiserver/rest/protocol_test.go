package rest_test

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/ctlplane/ctlplane/apiserver/registry"
	"github.com/ctlplane/ctlplane/apiserver/rest"
)

const (
	mapsPath = "/api/v1/namespaces/default/configmaps"
	mapBody  = `{"metadata":{"name":"a"},"data":{"k":"v"}}`
)

func TestErrorsAreStatuses(t *testing.T) {
	c := newCluster(t, nil)
	const inJSON = "application/json"
	for _, x := range []struct {
		token, method, path, contentType, body string
		code                                   int
		reason                                 metav1.StatusReason
		text                                   string
	}{
		{"", "GET", mapsPath, "", "", 401, metav1.StatusReasonUnauthorized, "Unauthorized"},
		{"wrong", "GET", "/version", "", "", 401, metav1.StatusReasonUnauthorized, "Unauthorized"},
		{"nobody", "GET", mapsPath, "", "", 403, metav1.StatusReasonForbidden, `User "nobody" cannot list resource "configmaps" in API group "" in the namespace "default"`},
		{"nobody", "GET", "/metrics", "", "", 403, metav1.StatusReasonForbidden, `User "nobody" cannot get path "/metrics"`},
		{"admin", "GET", "/nothing", "", "", 404, metav1.StatusReasonNotFound, "could not find the requested resource"},
		{"admin", "GET", "/api/v1/nothings", "", "", 404, metav1.StatusReasonNotFound, "could not find the requested resource"},
		{"admin", "GET", "/apis/nothing/v1", "", "", 404, metav1.StatusReasonNotFound, "could not find"},
		{"admin", "GET", "/api/v1/namespaces/default/nodes/x", "", "", 404, metav1.StatusReasonNotFound, "could not find"},
		{"admin", "GET", mapsPath + "/a/status", "", "", 404, metav1.StatusReasonNotFound, "could not find"},
		{"admin", "GET", mapsPath + "/missing", "", "", 404, metav1.StatusReasonNotFound, `configmaps "missing" not found`},
		{"admin", "PUT", mapsPath, inJSON, mapBody, 405, metav1.StatusReasonMethodNotAllowed, "does not allow this method"},
		{"admin", "DELETE", "/api/v1/configmaps", "", "", 405, metav1.StatusReasonMethodNotAllowed, "DELETE is not one of GET, POST"},
		{"admin", "DELETE", "/api/v1/namespaces", "", "", 405, metav1.StatusReasonMethodNotAllowed, "DELETE is not one of GET, POST"},
		{"admin", "PUT", mapsPath + "/kube-root", inJSON, "{}", 400, metav1.StatusReasonBadRequest, "name must be provided"},
		{"admin", "PUT", mapsPath + "/kube-root", inJSON, "null", 400, metav1.StatusReasonBadRequest, "name must be provided"},
		{"admin", "PUT", "/apis/apps/v1/namespaces/default/deployments/d/scale", inJSON, "{}", 400, metav1.StatusReasonBadRequest, "name must be provided"},
		{"admin", "POST", "/version", inJSON, "", 405, metav1.StatusReasonMethodNotAllowed, "does not allow this method"},
		{"admin", "OPTIONS", mapsPath, "", "", 405, metav1.StatusReasonMethodNotAllowed, "does not allow this method"},
		{"admin", "POST", mapsPath, "text/csv", "a,b", 415, metav1.StatusReasonUnsupportedMediaType, "application/json"},
		{"admin", "PATCH", mapsPath + "/kube-root", inJSON, "{}", 415, metav1.StatusReasonUnsupportedMediaType, "application/merge-patch+json"},
		{"admin", "POST", mapsPath, inJSON, "", 400, metav1.StatusReasonBadRequest, "body is empty"},
		{"admin", "POST", mapsPath, inJSON, "{", 400, metav1.StatusReasonBadRequest, "can't be read as a ConfigMap"},
		{"admin", "POST", mapsPath, inJSON, `{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a"}}`, 400, metav1.StatusReasonBadRequest, "configmaps takes a ConfigMap"},
		{"admin", "POST", mapsPath, inJSON, `{"kind":"Nothing","apiVersion":"v9"}`, 400, metav1.StatusReasonBadRequest, "does not serve"},
		{"admin", "POST", mapsPath + "?fieldValidation=Strict", inJSON, `{"metadata":{"name":"a"},"x":1}`, 400, metav1.StatusReasonBadRequest, `strict decoding error: unknown field "x"`},
		{"admin", "POST", mapsPath, inJSON, `{"metadata":{"name":"a","namespace":"other"}}`, 400, metav1.StatusReasonBadRequest, "does not match the namespace"},
		{"admin", "POST", "/api/v1/configmaps", inJSON, mapBody, 400, metav1.StatusReasonBadRequest, "namespace"},
		{"admin", "POST", mapsPath, inJSON, `{"metadata":{"name":"A B"}}`, 422, metav1.StatusReasonInvalid, `"A B" is invalid: metadata.name`},
		{"admin", "GET", mapsPath + "?limit=x", "", "", 400, metav1.StatusReasonBadRequest, "query"},
		{"admin", "GET", mapsPath + "?limit=-1", "", "", 400, metav1.StatusReasonBadRequest, "limit must not be negative"},
		{"admin", "GET", mapsPath + "?sendInitialEvents=true", "", "", 422, metav1.StatusReasonInvalid, "sendInitialEvents is forbidden for list"},
		{"admin", "GET", mapsPath + "?timeout=soon", "", "", 400, metav1.StatusReasonBadRequest, "invalid timeout"},
		{"admin", "GET", mapsPath + "?timeout=-1s", "", "", 400, metav1.StatusReasonBadRequest, "invalid timeout"},
		{"admin", "GET", mapsPath + "?watch=1&timeoutSeconds=-1", "", "", 400, metav1.StatusReasonBadRequest, "timeoutSeconds must not be negative"},
		{"admin", "POST", mapsPath + "?fieldManager=" + strings.Repeat("m", 129), inJSON, mapBody, 422, metav1.StatusReasonInvalid, "fieldManager: Too long"},
		{"admin", "POST", mapsPath + "?fieldManager=a%09b", inJSON, mapBody, 422, metav1.StatusReasonInvalid, "fieldManager: Invalid value"},
		{"admin", "POST", mapsPath + "?fieldValidation=strict", inJSON, mapBody, 422, metav1.StatusReasonInvalid, "fieldValidation: Unsupported value"},
		{"admin", "POST", mapsPath + "?fieldValidation=strict", inJSON, `{"metadata":{"name":"a"},"x":1}`, 422, metav1.StatusReasonInvalid, "fieldValidation: Unsupported value"},
		{"admin", "POST", mapsPath + "?dryRun=Some", inJSON, mapBody, 422, metav1.StatusReasonInvalid, "dryRun: Unsupported value"},
		{"admin", "DELETE", mapsPath + "?propagationPolicy=Sideways", "", "", 422, metav1.StatusReasonInvalid, "propagationPolicy: Unsupported value"},
		{"admin", "DELETE", mapsPath + "/a?propagationPolicy=Orphan&orphanDependents=true", "", "", 422, metav1.StatusReasonInvalid, "cannot be both set"},
		{"admin", "DELETE", mapsPath + "/a?gracePeriodSeconds=soon", "", "", 400, metav1.StatusReasonBadRequest, "query"},
		{"admin", "GET", mapsPath + "?watch=1&resourceVersion=x", "", "", 400, metav1.StatusReasonBadRequest, "resource version"},
		{"admin", "GET", mapsPath + "?watch=1&sendInitialEvents=true", "", "", 422, metav1.StatusReasonInvalid, "sendInitialEvents"},
		{"admin", "POST", mapsPath, inJSON, strings.Repeat("x", 4_000_000), 413, metav1.StatusReasonRequestEntityTooLarge, "3145728 bytes (3 MiB)"},
	} {
		got := c.ask(t, x.token, x.method, x.path, x.body, "Content-Type", x.contentType)
		var status metav1.Status
		if err := json.Unmarshal([]byte(got.body), &status); err != nil {
			t.Errorf("%s %s: %v: %s", x.method, x.path, err, got.body)
			continue
		}
		if got.code != x.code || int(status.Code) != x.code || status.Reason != x.reason || status.Kind != "Status" || !strings.Contains(status.Message, x.text) {
			t.Errorf("%s %s: %d %+v", x.method, x.path, got.code, status)
		}
	}
	if got := c.ask(t, "admin", "GET", mapsPath, "", "Accept", "text/csv"); got.code != 406 || !strings.Contains(got.body, `"reason":"NotAcceptable"`) {
		t.Errorf("an answer in CSV: %d %s", got.code, got.body)
	}
	if got := c.ask(t, "admin", "PUT", mapsPath, ""); got.header.Get("Allow") != "GET, POST, DELETE" {
		t.Errorf("allowed methods: %q", got.header.Get("Allow"))
	}
}

// TestDryRunBesideABodyIsOne has a delete's options in its body and a dry run in its query: it deleted.
func TestDryRunBesideABodyIsOne(t *testing.T) {
	c := newCluster(t, nil)
	c.ask(t, "admin", "POST", mapsPath, mapBody, "Content-Type", "application/json")
	for _, body := range []string{"", "{}", `{"gracePeriodSeconds":0}`, `{"dryRun":["All"]}`} {
		if got := c.ask(t, "admin", "DELETE", mapsPath+"/a?dryRun=All", body, "Content-Type", "application/json"); got.code != 200 {
			t.Errorf("dry run with the body %q: %d %s", body, got.code, got.body)
		}
		if got := c.ask(t, "admin", "GET", mapsPath+"/a", ""); got.code != 200 {
			t.Fatalf("a dry run with the body %q deleted", body)
		}
	}
}

func TestWarnings(t *testing.T) {
	c := newCluster(t, nil)
	got := c.ask(t, "admin", "POST", mapsPath+"?fieldValidation=Warn", `{"metadata":{"name":"a"},"x":1}`, "Content-Type", "application/json")
	if got.code != 201 || got.header.Get("Warning") != `299 - "unknown field \"x\""` {
		t.Errorf("%d, warning %q", got.code, got.header.Get("Warning"))
	}
	const pod = `{"metadata":{"name":"a"},"spec":{"containers":[{"name":"c","image":"i","tty":true,"stdin":true}]}}`
	got = c.ask(t, "admin", "POST", "/api/v1/namespaces/default/pods", pod, "Content-Type", "application/json")
	lines := got.header.Values("Warning")
	if got.code != 201 || len(lines) != 2 || !strings.HasPrefix(lines[0], `299 - "spec.containers[0].stdin: `) || !strings.HasPrefix(lines[1], `299 - "spec.containers[0].tty: `) {
		t.Errorf("fields that do nothing: %d, warnings %q", got.code, lines)
	}
}

func TestRepresentations(t *testing.T) {
	c := newCluster(t, nil)
	if got := c.ask(t, "admin", "POST", mapsPath, "metadata: {name: a}\ndata: {k: v}\n", "Content-Type", "application/yaml"); got.code != 201 {
		t.Fatalf("create from YAML: %d %s", got.code, got.body)
	}
	for accept, want := range map[string][]string{
		"application/json":                  {`"kind":"ConfigMap"`, `"k":"v"`},
		"*/*":                               {`"kind":"ConfigMap"`},
		"application/yaml":                  {"kind: ConfigMap"},
		"text/html, application/json;q=0.1": {`"kind":"ConfigMap"`},
		"application/json;as=Table;v=v1;g=meta.k8s.io":                  {`"kind":"Table"`, `"apiVersion":"meta.k8s.io/v1"`, `"cells":["a"`},
		"application/json;as=Table;v=v1beta1;g=meta.k8s.io":             {`"apiVersion":"meta.k8s.io/v1beta1"`},
		"application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io":  {`"kind":"PartialObjectMetadata"`},
		"application/json;as=Other;v=v1;g=meta.k8s.io,application/json": {`"kind":"ConfigMap"`},
	} {
		got := c.ask(t, "admin", "GET", mapsPath+"/a", "", "Accept", accept)
		for _, text := range want {
			if got.code != 200 || !strings.Contains(got.body, text) {
				t.Errorf("Accept %s: %d %s", accept, got.code, got.body)
			}
		}
	}
	if got := c.ask(t, "admin", "GET", mapsPath+"/a?pretty=true", ""); !strings.Contains(got.body, "\n  \"kind\": \"ConfigMap\"") {
		t.Errorf("pretty: %s", got.body)
	}
	if got := c.ask(t, "admin", "GET", mapsPath+"/a", "", "Accept", registry.MediaProtobuf); !strings.HasPrefix(got.body, "k8s\x00") {
		t.Errorf("protobuf: %q", got.body)
	}
	list := c.ask(t, "admin", "GET", mapsPath, "", "Accept", "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io")
	if !strings.Contains(list.body, `"kind":"PartialObjectMetadataList"`) || strings.Contains(list.body, `"k":"v"`) {
		t.Errorf("metadata of a list: %s", list.body)
	}
}

func TestLargeAnswersAreCompressed(t *testing.T) {
	c := newCluster(t, nil)
	for i := range 3 {
		body := fmt.Sprintf(`{"metadata":{"name":"m%d"},"data":{"k":"%s"}}`, i, strings.Repeat("x", 100_000))
		if got := c.ask(t, "admin", "POST", mapsPath, body, "Content-Type", "application/json"); got.code != 201 {
			t.Fatalf("%d %s", got.code, got.body)
		}
	}
	got := c.ask(t, "admin", "GET", mapsPath, "", "Accept-Encoding", "gzip")
	if got.header.Get("Content-Encoding") != "gzip" || len(got.body) > 10_000 {
		t.Fatalf("encoding %q, %d bytes", got.header.Get("Content-Encoding"), len(got.body))
	}
	zip, err := gzip.NewReader(strings.NewReader(got.body))
	if err != nil {
		t.Fatal(err)
	}
	var list struct{ Items []json.RawMessage }
	if err := json.NewDecoder(zip).Decode(&list); err != nil || len(list.Items) != 3 {
		t.Errorf("%d items, %v", len(list.Items), err)
	}
	small := c.ask(t, "admin", "GET", mapsPath+"/m0", "", "Accept-Encoding", "gzip")
	if small.header.Get("Content-Encoding") != "" {
		t.Error("a small answer was compressed")
	}
}

// open begins a stream.
func (c *cluster) open(t *testing.T, path, accept string) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), eventually)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, "GET", c.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer admin")
	req.Header.Set("Accept", accept)
	resp, err := c.Client().Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func TestWatchFrames(t *testing.T) {
	c := newCluster(t, nil)
	inJSON := c.open(t, mapsPath+"?watch=1", "application/json") // answers before there is an event
	inProtobuf := c.open(t, mapsPath+"?watch=1", registry.MediaProtobuf+";stream=watch")
	asTable := c.open(t, mapsPath+"?watch=1", "application/json;as=Table;v=v1;g=meta.k8s.io")
	if got := inProtobuf.Header.Get("Content-Type"); got != registry.MediaProtobuf+";stream=watch" {
		t.Errorf("content type %q", got)
	}
	for _, name := range []string{"a", "b"} {
		c.ask(t, "admin", "POST", mapsPath, `{"metadata":{"name":"`+name+`"}}`, "Content-Type", "application/json")
	}
	line, err := bufio.NewReader(inJSON.Body).ReadString('\n')
	if err != nil || !strings.HasPrefix(line, `{"type":"ADDED","object":{"kind":"ConfigMap","apiVersion":"v1"`) {
		t.Errorf("%v: %s", err, line)
	}
	var size [4]byte
	if _, err := io.ReadFull(inProtobuf.Body, size[:]); err != nil {
		t.Fatal(err)
	}
	frame := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(inProtobuf.Body, frame); err != nil {
		t.Fatal(err)
	}
	var event metav1.WatchEvent
	if err := event.Unmarshal(frame); err != nil || event.Type != "ADDED" || !strings.HasPrefix(string(event.Object.Raw), "k8s\x00") {
		t.Errorf("%v: %+v", err, event)
	}
	tables := json.NewDecoder(asTable.Body)
	for i := range 2 {
		var ev struct{ Object metav1.Table }
		if err := tables.Decode(&ev); err != nil || len(ev.Object.Rows) != 1 || (len(ev.Object.ColumnDefinitions) > 0) != (i == 0) {
			t.Errorf("%v: table %d: %+v", err, i, ev.Object)
		}
	}
}

func TestHealthVersionAndRoot(t *testing.T) {
	sick := true
	c := newCluster(t, func(o *rest.Options) {
		o.ReadyChecks = []rest.Check{{Name: "raft", Check: func(context.Context) error {
			if sick {
				return errors.New("there is no leader")
			}
			return nil
		}}, {Name: "loops", Advisory: true, Check: func(context.Context) error { return errors.New("scheduler ended") }}}
	})
	if got := c.ask(t, "nobody", "GET", "/livez", ""); got.code != 200 || got.body != "ok" {
		t.Errorf("livez: %d %s", got.code, got.body)
	}
	if got := c.ask(t, "nobody", "GET", "/readyz", ""); got.code != 500 || !strings.Contains(got.body, "[-]raft failed: there is no leader") {
		t.Errorf("readyz: %d %s", got.code, got.body)
	}
	if got := c.ask(t, "nobody", "GET", "/readyz?exclude=raft", ""); got.code != 200 {
		t.Errorf("readyz without raft: %d %s", got.code, got.body)
	}
	if got := c.ask(t, "", "GET", "/readyz", ""); got.code != 500 || !strings.Contains(got.body, "[-]raft failed: reason withheld") || strings.Contains(got.body, "leader") {
		t.Errorf("readyz without credentials: %d %s", got.code, got.body)
	}
	for path, code := range map[string]int{
		"/livez": 200, "/healthz": 200, "/version": 200, "/version/": 200, "/livez/ping": 401, "/metrics": 401, "/api": 401, "/": 401, "/openapi/v2": 401,
		"/api/v1/pods": 401,
	} {
		if got := c.ask(t, "", "GET", path, ""); got.code != code {
			t.Errorf("%s without credentials: %d %s, want %d", path, got.code, got.body, code)
		}
	}
	if got := c.ask(t, "stranger", "GET", "/livez", ""); got.code != 401 {
		t.Errorf("livez with a token that nobody knows: %d %s", got.code, got.body)
	}
	sick = false
	if got := c.ask(t, "nobody", "GET", "/readyz?verbose", ""); got.code != 200 || !strings.Contains(got.body, "[+]raft ok\n[-]loops failed, which does not count here: scheduler ended\nreadyz check passed") {
		t.Errorf("readyz: %d %s", got.code, got.body)
	}
	if got := c.ask(t, "nobody", "GET", "/readyz/raft", ""); got.code != 200 {
		t.Errorf("readyz/raft: %d %s", got.code, got.body)
	}
	if got := c.ask(t, "nobody", "GET", "/readyz/loops", ""); got.code != 500 {
		t.Errorf("readyz/loops: %d %s", got.code, got.body)
	}
	if got := c.ask(t, "nobody", "GET", "/readyz/other", ""); got.code != 404 {
		t.Errorf("readyz/other: %d %s", got.code, got.body)
	}
	if got := c.ask(t, "admin", "GET", "/", ""); !strings.Contains(got.body, `"/apis/apps/v1"`) {
		t.Errorf("root: %s", got.body)
	}
	if got := c.ask(t, "admin", "HEAD", "/livez", ""); got.code != 200 || got.body != "" {
		t.Errorf("HEAD: %d %q", got.code, got.body)
	}
}

// TestStorageVersionHash: clients tell by it whether objects have to be written again.
func TestStorageVersionHash(t *testing.T) {
	c := newCluster(t, nil)
	if got := c.ask(t, "admin", "GET", "/api/v1", ""); !strings.Contains(got.body, `"storageVersionHash":"xPOwRZ+Yhw8="`) { // Kubernetes' of pods
		t.Errorf("discovery: %s", got.body)
	}
}

func TestDiscoveryIsCached(t *testing.T) {
	c := newCluster(t, nil)
	const accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json"
	first := c.ask(t, "admin", "GET", "/apis", "", "Accept", accept)
	if want := "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"; first.header.Get("Content-Type") != want {
		t.Errorf("content type %q", first.header.Get("Content-Type"))
	}
	again := c.ask(t, "admin", "GET", "/apis", "", "Accept", accept, "If-None-Match", first.header.Get("ETag"))
	if again.code != http.StatusNotModified || again.body != "" {
		t.Errorf("second time: %d %q", again.code, again.body)
	}
	if plain := c.ask(t, "admin", "GET", "/apis", ""); !strings.Contains(plain.body, `"kind":"APIGroupList"`) {
		t.Errorf("without aggregation: %s", plain.body)
	}
}

func TestMetrics(t *testing.T) {
	metrics := prometheus.NewRegistry()
	c := newCluster(t, func(o *rest.Options) {
		o.Registerer, o.Metrics = metrics, promhttp.HandlerFor(metrics, promhttp.HandlerOpts{})
	})
	c.ask(t, "admin", "GET", mapsPath, "")
	c.ask(t, "admin", "BREW", "/no/such/path", "")
	got := c.ask(t, "admin", "GET", "/metrics", "")
	for _, line := range []string{
		`apiserver_request_total{code="200",group="",resource="configmaps",scope="namespace",subresource="",verb="list",version="v1"} 1`,
		`apiserver_request_total{code="404",group="",resource="",scope="",subresource="",verb="other",version=""} 1`,
		`apiserver_request_duration_seconds_count{group="",resource="configmaps",scope="namespace",subresource="",verb="list",version="v1"} 1`,
	} {
		if !strings.Contains(got.body, line) {
			t.Errorf("no %s in\n%s", line, got.body)
		}
	}
}

// TestTooManyRequests fills the only slot for reads.
func TestTooManyRequests(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	c := newCluster(t, func(o *rest.Options) {
		o.MaxReads = 1
		o.LiveChecks = []rest.Check{{Name: "slow", Check: func(ctx context.Context) error {
			entered <- struct{}{}
			<-release
			return nil
		}}}
	})
	done := make(chan answer)
	go func() { done <- c.ask(t, "admin", "GET", "/livez", "") }()
	<-entered
	if got := c.ask(t, "admin", "GET", mapsPath, ""); got.code != 429 || got.header.Get("Retry-After") == "" {
		t.Errorf("%d, retry after %q", got.code, got.header.Get("Retry-After"))
	}
	close(release)
	if got := <-done; got.code != 200 {
		t.Errorf("%d", got.code)
	}
}

func TestFaultIsContained(t *testing.T) {
	c := newCluster(t, func(o *rest.Options) {
		o.LiveChecks = []rest.Check{{Name: "broken", Check: func(context.Context) error { panic("secret detail") }}}
	})
	if got := c.ask(t, "admin", "GET", "/livez", ""); got.code != 500 || !strings.Contains(got.body, `"reason":"InternalError"`) || strings.Contains(got.body, "secret detail") {
		t.Errorf("%d %s", got.code, got.body)
	}
	if got := c.ask(t, "admin", "GET", mapsPath, ""); got.code != 200 {
		t.Errorf("afterwards: %d", got.code)
	}
}

// TestBegunAnswerOfAFaultIsCutOff has a panic after the answer has begun: what was sent must not look whole.
func TestBegunAnswerOfAFaultIsCutOff(t *testing.T) {
	c := newCluster(t, func(o *rest.Options) {
		o.Metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, "half")
			_ = http.NewResponseController(w).Flush()
			panic("at the wrong time")
		})
	})
	response := c.open(t, "/metrics", "*/*")
	if text, err := io.ReadAll(response.Body); err == nil {
		t.Errorf("got all of %q", text)
	}
	if got := c.ask(t, "admin", "GET", mapsPath, ""); got.code != 200 {
		t.Errorf("afterwards: %d", got.code)
	}
}
