package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
)

// Side is one of two clusters that are compared.
type Side struct {
	Name    string
	Options Options
}

// Comparison is the outcome of the same load on two clusters, in turns.
type Comparison struct {
	Workload string `json:"workload"`
	// Names are the two sides'; ratios are the first's figure over the second's.
	Names  [2]string       `json:"names"`
	Ratios map[string]Span `json:"ratios"`
	Rounds [][2]Report     `json:"rounds"`
}

// Span is what several rounds gave: the middle one, and how far they lie apart.
type Span struct {
	Median float64 `json:"median"`
	Min    float64 `json:"min"`
	Max    float64 `json:"max"`
}

// SpanOf is the span of values, of which there is one at least. Of an even number the median is the mean of the two in
// the middle.
func SpanOf(values []float64) Span {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return Span{(sorted[(n-1)/2] + sorted[n/2]) / 2, sorted[0], sorted[n-1]}
}

// measure is a figure of a report that is compared.
type measure struct {
	name string
	of   func(Report) float64
}

// rateName is the measure that is better the more it is; of all others less is better.
const rateName = "rate"

// measures are what can be compared: rate and latencies, the tails of the series, and of single events only what few of
// them tell.
func (c Comparison) measures() []measure {
	first := c.Rounds[0][0]
	p50 := measure{"p50", func(r Report) float64 { return r.Latency.P50 }}
	slowest := measure{"max", func(r Report) float64 { return r.Latency.Max }}
	if first.Trials != nil {
		return []measure{p50, slowest}
	}
	all := []measure{
		{rateName, func(r Report) float64 { return r.Rate }}, p50,
		{"p90", func(r Report) float64 { return r.Latency.P90 }},
		{"p99", func(r Report) float64 { return r.Latency.P99 }},
		{"p999", func(r Report) float64 { return r.Latency.P999 }},
		slowest,
	}
	for _, s := range first.Series {
		all = append(all, measure{s.Name + " p99", func(r Report) float64 {
			l, _ := r.SeriesLatency(s.Name)
			return l.P99
		}})
	}
	return all
}

// Compare runs the same load on both sides in turns, the first first in one round and last in the next, so that what the
// machine does meanwhile falls on both. said, if not nil, is called with each report as it comes. An interrupted
// comparison is an error: it would compare unequal loads.
func Compare(ctx context.Context, w Workload, sides [2]Side, rounds int, said func(side string, r Report)) (Comparison, error) {
	if rounds < 1 {
		return Comparison{}, errors.New("bench: there has to be at least one round")
	}
	c := Comparison{Workload: w.Describe().Name, Names: [2]string{sides[0].Name, sides[1].Name}}
	for round := range rounds {
		var pair [2]Report
		for turn := range 2 {
			i := (turn + round) % 2
			o := sides[i].Options
			o.Seed += uint64(round)
			report, err := Measure(ctx, w, o)
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return Comparison{}, fmt.Errorf("%s: %w", sides[i].Name, err)
			}
			if pair[i] = report; said != nil {
				said(sides[i].Name, report)
			}
		}
		c.Rounds = append(c.Rounds, pair)
	}
	c.Ratios = c.ratios()
	return c, nil
}

// ratios leaves out what one of the sides has not got.
func (c Comparison) ratios() map[string]Span {
	all := map[string]Span{}
	for _, m := range c.measures() {
		var values []float64
		for _, pair := range c.Rounds {
			if a, b := m.of(pair[0]), m.of(pair[1]); a > 0 && b > 0 {
				values = append(values, a/b)
			}
		}
		if len(values) == len(c.Rounds) {
			all[m.name] = SpanOf(values)
		}
	}
	return all
}

// values are one figure of one side in every round.
func (c Comparison) values(side int, of func(Report) float64) []float64 {
	var all []float64
	for _, pair := range c.Rounds {
		all = append(all, of(pair[side]))
	}
	return all
}

// WriteText writes the comparison as a table.
func (c Comparison) WriteText(w io.Writer) error {
	unit := c.Rounds[0][0].Unit
	fmt.Fprintf(w, "%s: %s against %s, %s in turns\n", c.Workload, c.Names[0], c.Names[1], plural(len(c.Rounds), "round"))
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\t%s\t%s\tratio\tmin–max\t\n", c.Names[0], c.Names[1])
	for _, m := range c.measures() {
		ratio, ok := c.Ratios[m.name]
		if !ok {
			continue
		}
		name, show := m.name, inMillis
		if m.name == rateName {
			name, show = unit+"/s", Thousands
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%.2f ×\t%.2f–%.2f\t\n", name,
			show(SpanOf(c.values(0, m.of)).Median), show(SpanOf(c.values(1, m.of)).Median), ratio.Median, ratio.Min, ratio.Max)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return c.writeErrors(w)
}

// writeErrors names the runs in which operations failed: their figures are not to be trusted.
func (c Comparison) writeErrors(w io.Writer) error {
	var b strings.Builder
	for i, pair := range c.Rounds {
		for side, r := range pair {
			if r.Errors > 0 {
				fmt.Fprintf(&b, "errors: %d in round %d of %s: %v\n", r.Errors, i+1, c.Names[side], r.ErrorTexts)
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
