package bench

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
)

// WriteText writes the report for a person to read.
func (r Report) WriteText(w io.Writer) error {
	var b strings.Builder
	r.writeHead(&b)
	fmt.Fprintf(&b, "latency   %s\n", r.Latency)
	for _, s := range r.Series {
		if s.Count > 0 {
			fmt.Fprintf(&b, "  %-14s %s   (%s)\n", s.Name, s.Latency, Thousands(float64(s.Count)))
		}
	}
	s := r.Settings
	fmt.Fprintf(&b, "load      %s on %s to %s (%s)%s; %d-byte keys of %s, %d-byte values; server %s\n",
		plural(s.Clients, "client"), plural(s.Connections, "connection"), s.Target, strings.Join(s.Endpoints, ","),
		atRate(s.Rate), s.KeySize, Thousands(float64(s.KeySpace)), s.ValueSize, s.ServerVersion)
	for _, name := range slices.Sorted(maps.Keys(r.Figures)) {
		fmt.Fprintf(&b, "figure    %s %s\n", name, figure(r.Figures[name]))
	}
	r.writeDistribution(&b)
	byCount := func(a, c string) int { return cmp.Compare(r.ErrorTexts[c], r.ErrorTexts[a]) }
	for _, text := range slices.SortedFunc(maps.Keys(r.ErrorTexts), byCount) {
		fmt.Fprintf(&b, "error     %s × %s\n", Thousands(float64(r.ErrorTexts[text])), text)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r Report) writeHead(b *strings.Builder) {
	if r.Trials != nil {
		fmt.Fprintf(b, "%s: median %s of %s, %s\n", r.Workload, inMillis(r.Latency.P50), Thousands(float64(r.Operations)), r.errorCount())
		return
	}
	fmt.Fprintf(b, "%s %s/s   %s %s in %.1f s, %s\n",
		Thousands(r.Rate), r.Unit, Thousands(float64(r.Operations)), r.Unit, r.Seconds, r.errorCount())
}

// String is the latency in one line.
func (l Latency) String() string {
	return fmt.Sprintf("p50 %s   p90 %s   p99 %s   p99.9 %s   max %s",
		inMillis(l.P50), inMillis(l.P90), inMillis(l.P99), inMillis(l.P999), inMillis(l.Max))
}

func (r Report) errorCount() string {
	if r.Errors == 0 {
		return "no errors"
	}
	return plural(int(r.Errors), "error")
}

func atRate(rate float64) string {
	if rate == 0 {
		return ""
	}
	return fmt.Sprintf(", %s/s asked for, latency from when each was due", Thousands(rate))
}

// distributionBounds are the upper ends of the rows of the distribution, in milliseconds.
var distributionBounds = []float64{0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 200000}

// writeDistribution draws the share of operations in steps of 1, 2, 5: from the first step that has any to the last.
func (r Report) writeDistribution(b *strings.Builder) {
	if r.Operations == 0 || r.histogram == nil || r.Trials != nil {
		return
	}
	counts := make([]int64, len(distributionBounds))
	for _, bar := range r.histogram.Distribution() {
		if bar.Count > 0 {
			i, _ := slices.BinarySearch(distributionBounds, float64(bar.To)/float64(time.Millisecond))
			counts[min(i, len(counts)-1)] += bar.Count
		}
	}
	first := slices.IndexFunc(counts, func(n int64) bool { return n > 0 })
	last := len(counts) - 1
	for counts[last] == 0 {
		last--
	}
	for i := first; i <= last; i++ {
		share := float64(counts[i]) / float64(r.Operations)
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
		return Thousands(ms) + " ms"
	case ms >= 10:
		return fmt.Sprintf("%.1f ms", ms)
	default:
		return fmt.Sprintf("%.2f ms", ms)
	}
}

func figure(v float64) string {
	if v >= 100 {
		return Thousands(v)
	}
	return fmt.Sprintf("%.3g", v)
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return Thousands(float64(n)) + " " + noun + "s"
}

// Thousands writes n as a whole number with commas between its thousands.
func Thousands(n float64) string {
	digits := fmt.Sprintf("%.0f", n)
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
