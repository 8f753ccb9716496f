package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// Report is the outcome of one run. docs/bench.md describes its JSON.
type Report struct {
	Workload string `json:"workload"`
	Unit     string `json:"unit"` // what an operation is
	// Rate is operations a second; 0 where single events were timed. JSON has it as <unit>_per_second too.
	Rate         float64            `json:"operations_per_second"`
	Operations   int64              `json:"operations"`
	Errors       int64              `json:"errors"`
	ErrorTexts   map[string]int64   `json:"error_texts,omitempty"`
	Latency      Latency            `json:"latency_ms"`
	Seconds      float64            `json:"seconds"`
	Trials       []float64          `json:"trials_ms,omitempty"` // each single event that was timed
	Series       []SeriesReport     `json:"series,omitempty"`
	Figures      map[string]float64 `json:"figures,omitempty"`
	Distribution []Percentile       `json:"distribution,omitempty"`
	Timeline     []Point            `json:"timeline,omitempty"`
	Moments      []Moment           `json:"moments,omitempty"`
	Settings     Settings           `json:"settings"`

	histogram *hdr.Histogram // nil in a report that no run has made
}

// Latency is how long operations took, in milliseconds: in a closed loop from call to answer, at a constant rate from
// when they were due.
type Latency struct {
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

// SeriesReport is a part of a run's operations, or something that followed from them.
type SeriesReport struct {
	Name    string  `json:"name"`
	Count   int64   `json:"count"`
	Latency Latency `json:"latency_ms"`
}

// Moment is when something happened in a run, in seconds since the start of the measurement.
type Moment struct {
	Name    string  `json:"name"`
	Seconds float64 `json:"seconds"`
}

// Percentile is one point of a distribution: this share of the operations took so long at most.
type Percentile struct {
	Percent float64 `json:"percent"`
	Millis  float64 `json:"ms"`
}

// Settings is what was run, with defaults filled in.
type Settings struct {
	ServerVersion string   `json:"server_version"`
	Endpoints     []string `json:"endpoints"` // those loaded
	Target        Target   `json:"target"`
	TLS           bool     `json:"tls"`
	Clients       int      `json:"clients"`
	Connections   int      `json:"connections"`
	Rate          float64  `json:"rate"` // operations a second that were asked for; 0: as many as go
	KeySize       int      `json:"key_size"`
	KeySpace      int      `json:"key_space"`
	ValueSize     int      `json:"value_size"`
}

func newReport(r *Run) Report {
	r.main.drain()
	all := r.main.total
	report := Report{
		Workload: r.workload.Name, Unit: r.workload.Unit, Operations: all.TotalCount(), Errors: r.failed, ErrorTexts: r.errors,
		Latency: latencyOf(all), Seconds: r.seconds, Trials: r.trials, Figures: r.figures, Distribution: distributionOf(all), Timeline: r.points, Moments: r.marks,
		Settings: Settings{
			ServerVersion: r.version, Endpoints: r.Endpoints, Target: r.Target, TLS: r.TLS != nil, Clients: r.Clients,
			Connections: r.Connections, Rate: r.Rate, KeySize: r.KeySize, KeySpace: r.KeySpace, ValueSize: r.ValueSize,
		},
		histogram: all,
	}
	for _, s := range r.series {
		s.drain()
		report.Series = append(report.Series, SeriesReport{s.name, s.total.TotalCount(), latencyOf(s.total)})
	}
	if report.Seconds > 0 {
		report.Rate = float64(report.Operations) / report.Seconds
	}
	return report
}

// SeriesLatency is the latency of a series; false if there is none of that name, or nothing in it.
func (r Report) SeriesLatency(name string) (Latency, bool) {
	for _, s := range r.Series {
		if s.Name == name {
			return s.Latency, s.Count > 0
		}
	}
	return Latency{}, false
}

// MarshalJSON puts the rate and the count under the unit's name first: writes_per_second, writes.
func (r Report) MarshalJSON() ([]byte, error) {
	type plain Report
	rest, err := json.Marshal(plain(r))
	if err != nil || r.Trials != nil || r.Unit == "operations" {
		return rest, err
	}
	rate, err := json.Marshal(r.Rate)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	unit := strings.ReplaceAll(r.Unit, "-", "_")
	fmt.Fprintf(&b, `{"%s_per_second":%s,"%s":%d,`, unit, rate, unit, r.Operations)
	b.Write(rest[1:])
	return b.Bytes(), nil
}

func latencyOf(h *hdr.Histogram) Latency {
	return Latency{P50: millis(h, 50), P90: millis(h, 90), P99: millis(h, 99), P999: millis(h, 99.9), Max: millis(h, 100)}
}

// percents are the percentiles of a distribution: dense where the tail is.
var percents = []float64{0, 5, 10, 20, 30, 40, 50, 60, 70, 75, 80, 85, 90, 92.5, 95, 96.5, 98, 99, 99.25, 99.5, 99.75, 99.9, 99.95, 99.99, 99.999}

// distributionOf leaves out percentiles finer than the number of operations tells apart.
func distributionOf(h *hdr.Histogram) []Percentile {
	n := float64(h.TotalCount())
	if n == 0 {
		return nil
	}
	var all []Percentile
	for _, p := range percents {
		if (100-p)*n >= 100 {
			all = append(all, Percentile{p, millis(h, p)})
		}
	}
	return append(all, Percentile{100, millis(h, 100)})
}

func millis(h *hdr.Histogram, percentile float64) float64 {
	if h.TotalCount() == 0 {
		return 0
	}
	return float64(h.ValueAtPercentile(percentile)) / float64(time.Millisecond)
}
