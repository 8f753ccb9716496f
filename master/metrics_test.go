package master

import (
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
)

// metricNames are the metrics that a page shows.
func metricNames(page string) []string {
	var names []string
	for line := range strings.Lines(page) {
		if rest, found := strings.CutPrefix(line, "# TYPE "); found {
			name, _, _ := strings.Cut(rest, " ")
			names = append(names, name)
		}
	}
	return names
}

// TestMetricsHaveEtcdsNames compares what is shown with the list that dashboards count on, both ways: what is added or taken away
// has to be so in the list.
func TestMetricsHaveEtcdsNames(t *testing.T) {
	r := startStore(t, func(c *Config) { c.HTTP.ExtensiveMetrics = true })
	c := r.client(nil)
	// Some are there once something has happened.
	r.ask(c, http.MethodGet, r.url("/health"), "")
	r.ask(c, http.MethodGet, r.url("/readyz"), "")
	r.ask(c, http.MethodPost, r.url("/v3/kv/put"), `{"key":"Zm9v"}`)
	r.ask(c, http.MethodPost, r.url("/v3/kv/range"), `{"key":"Zm9v"}`)
	list, err := os.ReadFile("testdata/metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	listed := strings.Fields(string(list))
	if !slices.IsSorted(listed) {
		t.Error("testdata/metrics.txt is not sorted")
	}
	for _, url := range []string{r.url("/metrics"), "http://" + r.monitor + "/metrics"} {
		_, page, _ := r.ask(c, http.MethodGet, url, "")
		shown := metricNames(page)
		for _, name := range listed {
			if !slices.Contains(shown, name) {
				t.Errorf("%s does not show %s", url, name)
			}
		}
		for _, name := range shown {
			if !strings.HasPrefix(name, "go_") && !strings.HasPrefix(name, "process_") && !slices.Contains(listed, name) {
				t.Errorf("%s shows %s, which is not in testdata/metrics.txt", url, name)
			}
		}
	}
	// The counters count.
	_, page, _ := r.ask(c, http.MethodGet, r.url("/metrics"), "")
	for _, line := range []string{
		"etcd_mvcc_put_total 1\n", "etcd_debugging_mvcc_keys_total 1\n", "etcd_server_has_leader 1\n", "etcd_server_is_leader 1\n",
		"etcd_debugging_mvcc_current_revision 2\n", "etcd_server_health_success 1\n",
		`etcd_server_healthchecks_total{name="linearizable_read",status="success",type="readyz"} 1` + "\n",
		`grpc_server_msg_received_total{grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 1` + "\n",
		`grpc_server_msg_sent_total{grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 1` + "\n",
		`grpc_server_handled_total{grpc_code="OK",grpc_method="Put",grpc_service="etcdserverpb.KV",grpc_type="unary"} 1` + "\n",
	} {
		if !strings.Contains(page, line) {
			t.Errorf("the page does not have %s", line)
		}
	}
}

func TestFilesAreCounted(t *testing.T) {
	before := openFiles()
	var open []*os.File
	for range 100 {
		f, err := os.Open(os.DevNull)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, f)
	}
	after := openFiles()
	for _, f := range open {
		_ = f.Close()
	}
	// What earlier tests left may be closed meanwhile.
	if opened := after - before; opened < 50 || opened > 150 {
		t.Errorf("100 files were opened, %v are counted (before: %v)", opened, before)
	}
	if limit := maxFiles(); limit < after {
		t.Errorf("%v files are open, of at most %v", after, limit)
	}
}
