package pki

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

var (
	endMetric = prometheus.NewDesc("ctlplane_certificate_expiration_timestamp_seconds",
		"When the certificate in use ends, in seconds since 1970.", []string{"kind"}, nil)
	renewedMetric = prometheus.NewDesc("ctlplane_certificate_renewals_total",
		"Certificates that were renewed.", []string{"kind"}, nil)
	failedMetric = prometheus.NewDesc("ctlplane_certificate_renewal_failures_total",
		"Attempts to renew a certificate that failed.", []string{"kind"}, nil)
)

// caKind is what logs and metrics call the authority's own certificate.
const caKind = "ca"

type renewalCount struct{ renewed, failed atomic.Uint64 }

// renewalCounts are what happened to each kind of certificate.
type renewalCounts map[string]*renewalCount

func (r *Renewer) count(renewal Renewal, err error) {
	for _, c := range renewal.Certificates {
		if err != nil {
			r.counts[c.Kind].failed.Add(1)
		} else {
			r.counts[c.Kind].renewed.Add(1)
		}
	}
}

var _ prometheus.Collector = (*Renewer)(nil)

// Describe implements prometheus.Collector.
func (r *Renewer) Describe(ch chan<- *prometheus.Desc) {
	ch <- endMetric
	ch <- renewedMetric
	ch <- failedMetric
}

// Collect implements prometheus.Collector.
func (r *Renewer) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(endMetric, prometheus.GaugeValue, float64(r.ca.NotAfter().Unix()), caKind)
	for _, renewal := range r.renewals {
		for _, c := range renewal.Certificates {
			ch <- prometheus.MustNewConstMetric(endMetric, prometheus.GaugeValue, float64(c.Source.NotAfter().Unix()), c.Kind)
			count := r.counts[c.Kind]
			ch <- prometheus.MustNewConstMetric(renewedMetric, prometheus.CounterValue, float64(count.renewed.Load()), c.Kind)
			ch <- prometheus.MustNewConstMetric(failedMetric, prometheus.CounterValue, float64(count.failed.Load()), c.Kind)
		}
	}
}
