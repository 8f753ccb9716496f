package rest

import (
	"errors"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// requestMetrics count what is asked of the API, under the names that Kubernetes' dashboards know.
type requestMetrics struct {
	requests    *prometheus.CounterVec
	durations   *prometheus.HistogramVec
	longRunning prometheus.Gauge
}

func newRequestMetrics(registerer prometheus.Registerer) (*requestMetrics, error) {
	m := &requestMetrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "apiserver_request_total", Help: "Requests by verb, resource and HTTP response code.",
		}, []string{"verb", "group", "version", "resource", "subresource", "scope", "code"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "apiserver_request_duration_seconds", Help: "How long requests take that are not streams.",
			Buckets: []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"verb", "group", "version", "resource", "subresource", "scope"}),
		longRunning: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "apiserver_longrunning_requests", Help: "Watches and logs that are open.",
		}),
	}
	if registerer == nil {
		return m, nil
	}
	return m, errors.Join(registerer.Register(m.requests), registerer.Register(m.durations), registerer.Register(m.longRunning))
}

// observe counts a request that has been answered. Only paths of resources that there are get labels:
// the number of series must not be the client's to choose.
func (m *requestMetrics) observe(c *call, code int, took time.Duration) {
	labels := []string{c.verb, "", "", "", "", ""}
	if c.known {
		t := c.target
		labels = []string{c.verb, t.Group, t.Version, t.Resource, t.subresource, scopeOf(t)}
	} else if !knownMethod[c.verb] {
		labels[0] = "other"
	}
	m.requests.WithLabelValues(append(labels[:len(labels):len(labels)], strconv.Itoa(code))...).Inc()
	if c.verb != "watch" && c.target.subresource != logSubresource {
		m.durations.WithLabelValues(labels...).Observe(took.Seconds())
	}
}

var knownMethod = map[string]bool{"get": true, "head": true, "post": true, "put": true, "patch": true, "delete": true}

func scopeOf(t target) string {
	switch {
	case t.name != "":
		return "resource"
	case t.namespace != "":
		return "namespace"
	}
	return "cluster"
}
