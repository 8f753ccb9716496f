package scheduler

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// Results of scheduling attempts, as metrics name them.
const (
	resultScheduled     = "scheduled"
	resultUnschedulable = "unschedulable"
	resultError         = "error"
)

// Metrics counts what schedulers do. One is made for a process, and given to each scheduler that
// runs there in turn, one at a time.
type Metrics struct {
	attempts *prometheus.CounterVec
	duration *prometheus.HistogramVec
	queue    atomic.Pointer[queue] // of the scheduler that runs; nil: none does
}

var pendingPods = prometheus.NewDesc("scheduler_pending_pods",
	"Number of pods without a node, by the queue that they are in.", []string{"queue"}, nil)

// NewMetrics makes metrics with kube-scheduler's names and registers them, unless registerer is nil.
func NewMetrics(registerer prometheus.Registerer) *Metrics {
	m := &Metrics{
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "scheduler_schedule_attempts_total",
			Help: "Number of attempts to schedule pods, by the result.",
		}, []string{"profile", "result"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "scheduler_scheduling_attempt_duration_seconds",
			Help:    "Time from taking a pod out of the queue to its binding or failure.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
		}, []string{"profile", "result"}),
	}
	if registerer != nil {
		registerer.MustRegister(m)
	}
	return m
}

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(descriptions chan<- *prometheus.Desc) {
	m.attempts.Describe(descriptions)
	m.duration.Describe(descriptions)
	descriptions <- pendingPods
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(metrics chan<- prometheus.Metric) {
	m.attempts.Collect(metrics)
	m.duration.Collect(metrics)
	var counts map[entryState]int
	if q := m.queue.Load(); q != nil {
		counts = q.counts()
	}
	for state, name := range map[entryState]string{active: "active", backoff: "backoff", unschedulable: "unschedulable"} {
		metrics <- prometheus.MustNewConstMetric(pendingPods, prometheus.GaugeValue, float64(counts[state]), name)
	}
}

func (m *Metrics) observe(profile, result string, seconds float64) {
	m.attempts.WithLabelValues(profile, result).Inc()
	m.duration.WithLabelValues(profile, result).Observe(seconds)
}
