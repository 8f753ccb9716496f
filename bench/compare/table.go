package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/ctlplane/ctlplane/bench"
)

// row is one of the table.
type row struct {
	name string
	unit unit
	less bool // less is better
	// target is what the ratio of our figure to etcd's is to reach, or our figure itself if that is absolute; 0: none.
	target   float64
	absolute bool
}

// unit is what a row's figures are in.
type unit int

const (
	perSecond unit = iota
	millis
	megabytes
)

func (r row) show(v float64) string {
	switch {
	case r.unit == perSecond:
		return bench.Thousands(v) + "/s"
	case r.unit == megabytes:
		return bench.Thousands(v) + " MB"
	case v >= 10_000:
		return fmt.Sprintf("%.1f s", v/1000)
	case v >= 100:
		return fmt.Sprintf("%.0f ms", v)
	default:
		return fmt.Sprintf("%.2f ms", v)
	}
}

// table collects figures, row for row.
type table struct {
	rows    []row // in the order in which they were declared
	values  map[string]map[string][]float64
	loads   []string // those that there are reports of, in order
	reports map[string]map[string][]bench.Report
}

func newTable() *table {
	return &table{values: map[string]map[string][]float64{}, reports: map[string]map[string][]bench.Report{}}
}

// declare gives a row its place, before it has figures.
func (t *table) declare(r row) {
	if t.values[r.name] == nil {
		t.rows = append(t.rows, r)
		t.values[r.name] = map[string][]float64{}
	}
}

func (t *table) add(r row, system string, v float64) {
	t.declare(r)
	t.values[r.name][system] = append(t.values[r.name][system], v)
}

func (t *table) report(load, system string, r bench.Report) {
	if t.reports[load] == nil {
		t.loads = append(t.loads, load)
		t.reports[load] = map[string][]bench.Report{}
	}
	t.reports[load][system] = append(t.reports[load][system], r)
}

// line is a row with what came out.
type line struct {
	Name     string      `json:"row"`
	Etcd     []float64   `json:"etcd,omitempty"`
	Ctlplane []float64   `json:"ctlplane,omitempty"`
	Ratio    *bench.Span `json:"ratio,omitempty"`
	Target   float64     `json:"target,omitempty"`
	Absolute bool        `json:"target_is_absolute,omitempty"`
	Less     bool        `json:"less_is_better"`
	Met      *bool       `json:"met,omitempty"` // nil: there is no target, or nothing to hold against it

	row row
}

// lines are the rows with what came out.
func (t *table) lines() []line {
	var lines []line
	for _, r := range t.rows {
		l := line{
			Name: r.name, Etcd: t.values[r.name][theirs], Ctlplane: t.values[r.name][ours],
			Target: r.target, Absolute: r.absolute, Less: r.less, row: r,
		}
		l.Ratio = ratio(l.Ctlplane, l.Etcd)
		l.Met = l.met()
		lines = append(lines, l)
	}
	return lines
}

// ratio divides round by round, so that what the machine did in a round falls out, and spans the rounds; nil if one of the
// systems has no figures, or another number of them.
func ratio(a, b []float64) *bench.Span {
	if len(a) == 0 || len(a) != len(b) {
		return nil
	}
	var ratios []float64
	for i := range a {
		if b[i] <= 0 {
			return nil
		}
		ratios = append(ratios, a[i]/b[i])
	}
	span := bench.SpanOf(ratios)
	return &span
}

func (l line) met() *bool {
	var reached float64
	switch {
	case l.Target == 0:
		return nil
	case l.Absolute && len(l.Ctlplane) > 0:
		reached = bench.SpanOf(l.Ctlplane).Median
	case !l.Absolute && l.Ratio != nil:
		reached = l.Ratio.Median
	default:
		return nil
	}
	met := reached >= l.Target
	if l.Less {
		met = reached <= l.Target
	}
	return &met
}

// cells are the line for a person to read.
func (l line) cells() []string {
	cells := []string{l.Name, l.median(l.Etcd), l.median(l.Ctlplane), "–", "–", "–", ""}
	if l.Ratio != nil {
		cells[3] = fmt.Sprintf("%.2f ×", l.Ratio.Median)
		cells[4] = fmt.Sprintf("%.2f–%.2f", l.Ratio.Min, l.Ratio.Max)
	}
	if l.Target > 0 {
		sign := map[bool]string{true: "≤", false: "≥"}[l.Less]
		cells[5] = fmt.Sprintf("%s %g ×", sign, l.Target)
		if l.Absolute {
			cells[5] = sign + " " + l.row.show(l.Target)
		}
	}
	if l.Met != nil {
		cells[6] = map[bool]string{true: "met", false: "missed"}[*l.Met]
	}
	return cells
}

func (l line) median(values []float64) string {
	if len(values) == 0 {
		return "–"
	}
	return l.row.show(bench.SpanOf(values).Median)
}

var head = []string{"", "etcd", "ctlplane", "ratio", "spread", "target", ""}

// footnote says what the columns are.
const footnote = "Medians; the ratio is the median of the rounds' ratios (ctlplane / etcd), the spread the least and the most of them.\n"

// writeText writes the table for a terminal.
func (t *table) writeText(w io.Writer) error {
	tab := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(tab, strings.Join(head, "\t"))
	for _, l := range t.lines() {
		fmt.Fprintln(tab, strings.Join(l.cells(), "\t"))
	}
	if err := tab.Flush(); err != nil {
		return err
	}
	if _, err := io.WriteString(w, footnote); err != nil {
		return err
	}
	return t.writeErrors(w)
}

// writeErrors names the runs in which operations failed: their figures are not to be trusted.
func (t *table) writeErrors(w io.Writer) error {
	for _, load := range t.loads {
		for _, system := range slices.Sorted(slices.Values([]string{theirs, ours})) {
			for round, r := range t.reports[load][system] {
				if r.Errors == 0 {
					continue
				}
				if _, err := fmt.Fprintf(w, "errors: %d in round %d of %s, %s: %v\n", r.Errors, round+1, system, load, r.ErrorTexts); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
