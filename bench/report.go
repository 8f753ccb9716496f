package bench

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	hdr "github.com/HdrHistogram/hdrhistogram-go"
)

// Report is the outcome of a run of writes.
type Report struct {
	WritesPerSecond float64          `json:"writes_per_second"`
	Writes          int64            `json:"writes"`
	Errors          int64            `json:"errors"`
	ErrorTexts      map[string]int64 `json:"error_texts,omitempty"`
	Latency         Latency          `json:"latency_ms"`
	Seconds         float64          `json:"seconds"`
	Settings        Settings         `json:"settings"`

	histogram *hdr.Histogram
}

// Latency is how long writes took from call to answer, in milliseconds.
type Latency struct {
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

// Settings is what was run, with defaults filled in.
type Settings struct {
	ServerVersion string   `json:"server_version"`
	Endpoints     []string `json:"endpoints"` // those written to
	Target        Target   `json:"target"`
	TLS           bool     `json:"tls"`
	Clients       int      `json:"clients"`
	Connections   int      `json:"connections"`
	Pipeline      int      `json:"pipeline"`
	KeySize       int      `json:"key_size"`
	KeySpace      int      `json:"key_space"`
	ValueSize     int      `json:"value_size"`
}

func newReport(o Options, c cluster, m *measurement, stopped time.Time) Report {
	writes, texts := m.merged()
	r := Report{
		Writes: writes.TotalCount(), Errors: m.failed.Load(), ErrorTexts: texts,
		Latency: Latency{
			P50: millis(writes, 50), P90: millis(writes, 90), P99: millis(writes, 99), P999: millis(writes, 99.9), Max: millis(writes, 100),
		},
		Seconds: m.elapsed(stopped).Seconds(),
		Settings: Settings{
			ServerVersion: c.version, Endpoints: c.endpoints, Target: o.Target, TLS: o.TLS != nil, Clients: o.Clients,
			Connections: o.Connections, Pipeline: o.Pipeline, KeySize: o.KeySize, KeySpace: o.KeySpace, ValueSize: o.ValueSize,
		},
		histogram: writes,
	}
	if r.Seconds > 0 {
		r.WritesPerSecond = float64(r.Writes) / r.Seconds
	}
	return r
}

func millis(h *hdr.Histogram, percentile float64) float64 {
	if h.TotalCount() == 0 {
		return 0
	}
	return float64(h.ValueAtPercentile(percentile)) / float64(time.Millisecond)
}

// WriteText writes the report for a person to read.
func (r Report) WriteText(w io.Writer) error {
	var b strings.Builder
	s := r.Settings
	fmt.Fprintf(&b, "%s writes/s", thousands(r.WritesPerSecond))
	fmt.Fprintf(&b, "   %s writes in %.1f s, %s\n", thousands(float64(r.Writes)), r.Seconds, r.errorCount())
	fmt.Fprintf(&b, "latency   p50 %s   p90 %s   p99 %s   p99.9 %s   max %s\n",
		inMillis(r.Latency.P50), inMillis(r.Latency.P90), inMillis(r.Latency.P99), inMillis(r.Latency.P999), inMillis(r.Latency.Max))
	fmt.Fprintf(&b, "load      %s on %s to %s (%s), %s; %d-byte keys of %s, %d-byte values; server %s\n",
		plural(s.Clients, "client"), plural(s.Connections, "connection"), s.Target, strings.Join(s.Endpoints, ","),
		inFlight(s.Pipeline), s.KeySize, thousands(float64(s.KeySpace)), s.ValueSize, s.ServerVersion)
	r.writeDistribution(&b)
	byCount := func(a, c string) int { return cmp.Compare(r.ErrorTexts[c], r.ErrorTexts[a]) }
	for _, text := range slices.SortedFunc(maps.Keys(r.ErrorTexts), byCount) {
		fmt.Fprintf(&b, "error     %s × %s\n", thousands(float64(r.ErrorTexts[text])), text)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r Report) errorCount() string {
	if r.Errors == 0 {
		return "no errors"
	}
	return plural(int(r.Errors), "error")
}

func inFlight(pipeline int) string {
	if pipeline == 0 {
		return "one RPC a write"
	}
	return fmt.Sprintf("pipelined, %d in flight each", pipeline)
}

// distributionBounds are the upper ends of the rows of the distribution, in milliseconds.
var distributionBounds = []float64{0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 200000}

// writeDistribution draws the share of writes in steps of 1, 2, 5: from the first step that has any to the last.
func (r Report) writeDistribution(b *strings.Builder) {
	if r.Writes == 0 {
		return
	}
	counts := make([]int64, len(distributionBounds))
	for _, bar := range r.histogram.Distribution() {
		if bar.Count > 0 {
			i, _ := slices.BinarySearch(distributionBounds, float64(bar.To)/float64(time.Millisecond))
			counts[min(i, len(counts)-1)] += bar.Count
		}
	}
	any := func(n int64) bool { return n > 0 }
	first := slices.IndexFunc(counts, any)
	last := len(counts) - 1
	for counts[last] == 0 {
		last--
	}
	for i := first; i <= last; i++ {
		share := float64(counts[i]) / float64(r.Writes)
		fmt.Fprintf(b, "  ≤ %8s  %-40s %5.1f %%\n", inMillis(distributionBounds[i]), hashes(share), 100*share)
	}
}

// hashes is a bar of up to 40 cells, in eighths of one.
func hashes(share float64) string {
	eighths := int(share*40*8 + 0.5)
	bar := strings.Repeat("█", eighths/8)
	if rest := eighths % 8; rest > 0 {
		bar += string([]rune("▏▎▍▌▋▊▉")[rest-1])
	}
	return bar
}

func inMillis(ms float64) string {
	switch {
	case ms >= 100:
		return fmt.Sprintf("%.0f ms", ms)
	case ms >= 10:
		return fmt.Sprintf("%.1f ms", ms)
	default:
		return fmt.Sprintf("%.2f ms", ms)
	}
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return thousands(float64(n)) + " " + noun + "s"
}

// thousands writes n as a whole number with commas between its thousands.
func thousands(n float64) string {
	digits := fmt.Sprintf("%.0f", n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
