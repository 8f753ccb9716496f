package master

import (
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/ctlplane/ctlplane/raftstore"
)

// newMetrics is the master's registry of metrics: the process's, the store's, and what the parts add.
func newMetrics(m *raftstore.Member) (*prometheus.Registry, http.Handler) {
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		m.Metrics(),
	)
	return metrics, promhttp.HandlerFor(metrics, promhttp.HandlerOpts{})
}
