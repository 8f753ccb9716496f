package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/ctlplane/ctlplane/bench"
)

// writeTable writes the medians of each workload, and ctlplane's as multiples of etcd's.
func writeTable(w io.Writer, all []measured) error {
	t := tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "\tetcd\tctlplane\tratio\tetcd p50\tctlplane p50\tratio\tetcd p99\tctlplane p99\tratio\t")
	rate := func(r bench.Report) float64 { return r.WritesPerSecond }
	p50 := func(r bench.Report) float64 { return r.Latency.P50 }
	p99 := func(r bench.Report) float64 { return r.Latency.P99 }
	for _, load := range workloads {
		fmt.Fprintf(t, "%s\t", load.name)
		for _, column := range []struct {
			of     func(bench.Report) float64
			format string
		}{{rate, "%.0f/s"}, {p50, "%.2f ms"}, {p99, "%.2f ms"}} {
			theirs, ok := median(all, "etcd", load.name, column.of)
			ours, _ := median(all, "ctlplane", load.name, column.of)
			if !ok {
				fmt.Fprintf(t, "-\t"+column.format+"\t-\t", ours)
				continue
			}
			fmt.Fprintf(t, column.format+"\t"+column.format+"\t%.2f ×\t", theirs, ours, ours/theirs)
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	return writeErrors(w, all)
}

func median(all []measured, system, load string, of func(bench.Report) float64) (float64, bool) {
	var values []float64
	for _, m := range all {
		if m.System == system && m.Workload == load {
			values = append(values, of(m.Report))
		}
	}
	if len(values) == 0 {
		return 0, false
	}
	slices.Sort(values)
	return values[len(values)/2], true
}

// writeErrors names the runs in which writes failed: their figures are not to be trusted.
func writeErrors(w io.Writer, all []measured) error {
	for _, m := range all {
		if m.Report.Errors == 0 {
			continue
		}
		if _, err := fmt.Fprintf(w, "errors: %d in round %d of %s, %s: %v\n", m.Report.Errors, m.Round, m.System, m.Workload, m.Report.ErrorTexts); err != nil {
			return err
		}
	}
	return nil
}
