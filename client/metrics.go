package client

import "github.com/prometheus/client_golang/prometheus"

var (
	combinedEvents = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ctlplane_events_combined_total", Help: "Reports that share one Event with others like them, because too many came.",
	}, []string{"component"})
	lostEvents = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "ctlplane_events_lost_total", Help: "Reports of which no Event tells.",
	}, []string{"component"})
)

// Metrics counts what became of the reports of all recorders of the process.
func Metrics() []prometheus.Collector { return []prometheus.Collector{combinedEvents, lostEvents} }
