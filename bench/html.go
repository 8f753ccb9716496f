package bench

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/ctlplane/ctlplane/bench/page"
)

// WriteHTML writes results as one page that needs no network.
func WriteHTML(w io.Writer, results []Result) error {
	p := page.Page{Title: "ctlplane bench", Subtitle: "Latencies in a closed loop are from call to answer; at a constant rate from when an operation was due."}
	if len(results) == 1 {
		p.Title += " " + results[0].reports()[0].Workload
	}
	for _, r := range results {
		if r.Comparison != nil {
			p.Sections = append(p.Sections, r.Comparison.Section())
		} else {
			p.Sections = append(p.Sections, r.Report.Section())
		}
	}
	return p.Write(w)
}

// Section is the report as a part of a page.
func (r Report) Section() page.Section {
	s := page.Section{Heading: r.Workload, Text: r.Settings.sentence()}
	if r.Trials == nil {
		s.Cards = append(s.Cards, page.Card{Value: Thousands(r.Rate), Label: r.Unit + " a second",
			Note: fmt.Sprintf("%s in %.1f s", Thousands(float64(r.Operations)), r.Seconds)})
	}
	s.Cards = append(s.Cards,
		page.Card{Value: inMillis(r.Latency.P50), Label: "median"},
		page.Card{Value: inMillis(r.Latency.P99), Label: "99th percentile"},
		page.Card{Value: inMillis(r.Latency.Max), Label: "slowest"},
		page.Card{Value: Thousands(float64(r.Errors)), Label: "errors"})
	if len(r.Series) > 0 {
		s.Tables = append(s.Tables, r.seriesTable())
	}
	if len(r.Figures) > 0 {
		s.Tables = append(s.Tables, r.figuresTable())
	}
	s.Charts = charts([]named{{"", []Report{r}}})
	return s
}

func (r Report) seriesTable() page.Table {
	t := page.Table{Head: []string{"series", "count", "p50", "p90", "p99", "p99.9", "max"}}
	for _, s := range r.Series {
		t.Rows = append(t.Rows, page.Row{Cells: append([]string{s.Name, Thousands(float64(s.Count))}, s.Latency.cells()...)})
	}
	return t
}

func (r Report) figuresTable() page.Table {
	t := page.Table{Head: []string{"figure", "value"}}
	for _, name := range slices.Sorted(maps.Keys(r.Figures)) {
		t.Rows = append(t.Rows, page.Row{Cells: []string{name, figure(r.Figures[name])}})
	}
	return t
}

func (l Latency) cells() []string {
	return []string{inMillis(l.P50), inMillis(l.P90), inMillis(l.P99), inMillis(l.P999), inMillis(l.Max)}
}

// sentence says what was run.
func (s Settings) sentence() string {
	load := "as fast as it is answered"
	if s.Rate > 0 {
		load = Thousands(s.Rate) + " operations a second"
	}
	return fmt.Sprintf("%s on %s to %s, %s; %d-byte keys of %s, %d-byte values; %s, server %s.",
		plural(s.Clients, "client"), plural(s.Connections, "connection"),
		map[Target]string{TargetLeader: "the leader", TargetAll: "all members"}[s.Target], load,
		s.KeySize, Thousands(float64(s.KeySpace)), s.ValueSize, map[bool]string{true: "TLS", false: "plain text"}[s.TLS], s.ServerVersion)
}

// Section is the comparison as a part of a page.
func (c Comparison) Section() page.Section {
	s := page.Section{
		Heading: fmt.Sprintf("%s: %s against %s", c.Workload, c.Names[0], c.Names[1]),
		Text:    fmt.Sprintf("%s in turns. %s", plural(len(c.Rounds), "round"), c.Rounds[0][0].Settings.sentence()),
	}
	t := page.Table{Head: []string{"", c.Names[0], c.Names[1], "ratio", "least", "most"}}
	spans := page.Spans{Title: fmt.Sprintf("%s as a multiple of %s: median and spread of the rounds", c.Names[0], c.Names[1])}
	for _, m := range c.measures() {
		ratio, ok := c.Ratios[m.name]
		if !ok {
			continue
		}
		name, show := m.name, inMillis
		if m.name == rateName {
			name, show = c.Rounds[0][0].Unit+" a second", Thousands
		}
		t.Rows = append(t.Rows, page.Row{Cells: []string{
			name, show(SpanOf(c.values(0, m.of)).Median), show(SpanOf(c.values(1, m.of)).Median),
			fmt.Sprintf("%.2f ×", ratio.Median), fmt.Sprintf("%.2f ×", ratio.Min), fmt.Sprintf("%.2f ×", ratio.Max),
		}})
		spans.Rows = append(spans.Rows, page.Span{Label: name, Median: ratio.Median, Min: ratio.Min, Max: ratio.Max, Less: m.name != rateName})
	}
	s.Tables = append(s.Tables, t)
	var sides [2]named
	for i, name := range c.Names {
		sides[i].name = name
		for _, pair := range c.Rounds {
			sides[i].reports = append(sides[i].reports, pair[i])
		}
	}
	if len(spans.Rows) > 0 {
		s.Charts = append(s.Charts, spans)
	}
	s.Charts = append(s.Charts, charts(sides[:])...)
	return s
}

// named is one system and what it gave, round for round.
type named struct {
	name    string
	reports []Report
}

// PlotSides is the plots of what several systems gave under the same load.
func PlotSides(names []string, reports [][]Report) []page.Chart {
	var all []named
	for i, name := range names {
		all = append(all, named{name, reports[i]})
	}
	return charts(all)
}

// charts plots throughput and latency over time, and the distribution of latencies.
func charts(sides []named) []page.Chart {
	first := sides[0].reports[0]
	rate := page.Lines{Title: first.Unit + " a second over time", X: page.Axis{Label: "seconds"}, Y: page.Axis{Label: first.Unit + " a second"}}
	latency := page.Lines{Title: "Latency over time", X: page.Axis{Label: "seconds"}, Y: page.Axis{Label: "ms", Scale: page.Log}}
	spread := page.Lines{Title: "Latency distribution", X: page.Axis{Label: "share of " + first.Unit, Scale: page.Nines}, Y: page.Axis{Label: "ms", Scale: page.Log}}
	if len(sides[0].reports) > 1 {
		rate.Title += ", further rounds dashed"
		latency.Title += ", first round"
	}
	for i, side := range sides {
		for _, m := range side.reports[0].Moments {
			latency.Marks = append(latency.Marks, page.Mark{X: m.Seconds, Name: strings.TrimSpace(side.name + " " + m.Name), Color: i})
		}
		for round, r := range side.reports {
			over, p50, p99 := r.lines()
			name := func(of string) string {
				if round > 0 {
					return "" // one entry in the legend for all rounds
				}
				return strings.TrimSpace(side.name + " " + of)
			}
			rate.Lines = append(rate.Lines, page.Line{Name: name(""), Points: over, Color: i, Dashed: round > 0})
			if round == 0 {
				latency.Lines = append(latency.Lines, page.Line{Name: name("p99"), Points: p99, Color: i},
					page.Line{Name: name("p50"), Points: p50, Color: i, Dashed: true})
			}
		}
		spread.Lines = append(spread.Lines, page.Line{Name: side.name, Points: distribution(side.reports), Color: i})
	}
	rate.Title = strings.ToUpper(rate.Title[:1]) + rate.Title[1:]
	var all []page.Chart
	if len(first.Timeline) > 1 {
		all = append(all, rate, latency)
	}
	if first.Operations > 1 {
		all = append(all, spread)
	}
	return all
}

func (r Report) lines() (rate, p50, p99 []page.XY) {
	for _, p := range r.Timeline {
		rate = append(rate, page.XY{X: p.Seconds, Y: p.Rate})
		p50 = append(p50, page.XY{X: p.Seconds, Y: p.P50})
		p99 = append(p99, page.XY{X: p.Seconds, Y: p.P99})
	}
	return rate, p50, p99
}

// distribution is that of all reports together.
func distribution(reports []Report) []page.XY {
	merged := newHistogram()
	for _, r := range reports {
		if r.histogram != nil { // else it was not measured here
			merged.Merge(r.histogram)
		}
	}
	var points []page.XY
	for _, p := range distributionOf(merged) {
		if p.Percent < 100 {
			points = append(points, page.XY{X: p.Percent, Y: p.Millis})
		}
	}
	return points
}
