package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/ctlplane/ctlplane/bench"
	"github.com/ctlplane/ctlplane/bench/page"
)

// results is the file of results.
type results struct {
	Time    time.Time                            `json:"time"`
	Machine machine                              `json:"machine"`
	Table   []line                               `json:"table"`
	Reports map[string]map[string][]bench.Report `json:"reports"` // by load and system
}

// machine is what the figures are of.
type machine struct {
	CPUs   int    `json:"cpus"`
	CPU    string `json:"cpu"`
	Memory string `json:"memory"`
	Kernel string `json:"kernel"`
	Go     string `json:"go"`
}

// save writes the results as JSON and as a page, and says where.
func (t *table) save(dir, name string, out io.Writer) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	all := results{Time: time.Now().UTC().Truncate(time.Second), Machine: thisMachine(), Table: t.lines(), Reports: t.reports}
	text, err := json.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	var html bytes.Buffer
	if err := t.page(all).Write(&html); err != nil {
		return err
	}
	for ending, content := range map[string][]byte{".json": text, ".html": html.Bytes()} {
		if err := os.WriteFile(filepath.Join(dir, name+ending), content, 0o644); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(out, "details: %s\n", filepath.Join(dir, name+".{json,html}"))
	return err
}

// page is the results as a page.
func (t *table) page(all results) page.Page {
	m := all.Machine
	p := page.Page{
		Title: "ctlplane against etcd",
		Subtitle: fmt.Sprintf("Three members of each on one machine, in plain text, in turns; the load generator shares the machine. %d CPUs (%s), %s of memory, %s, %s. %s.",
			m.CPUs, m.CPU, m.Memory, m.Kernel, m.Go, all.Time.Format("2 January 2006")),
	}
	p.Sections = append(p.Sections, overview(all.Table))
	for _, load := range t.loads {
		if charts := t.charts(load); len(charts) > 0 {
			p.Sections = append(p.Sections, page.Section{Heading: load, Charts: charts})
		}
	}
	return p
}

// overview is the table, and its ratios as a plot.
func overview(lines []line) page.Section {
	rows := page.Table{Head: head}
	spans := page.Spans{Title: "ctlplane as a multiple of etcd. Dot: median, bar: rounds, stroke: target; blue where the target is met"}
	for _, l := range lines {
		r := page.Row{Cells: l.cells()}
		if l.Met != nil {
			r.Mark = map[bool]string{true: "good", false: "bad"}[*l.Met]
		}
		rows.Rows = append(rows.Rows, r)
		if l.Ratio != nil && l.Ratio.Min > 0 && !l.Absolute {
			spans.Rows = append(spans.Rows, page.Span{
				Label: l.Name, Median: l.Ratio.Median, Min: l.Ratio.Min, Max: l.Ratio.Max, Target: l.Target, Less: l.Less,
			})
		}
	}
	s := page.Section{Text: footnote, Tables: []page.Table{rows}}
	if len(spans.Rows) > 0 {
		s.Charts = append(s.Charts, spans)
	}
	return s
}

// charts are the plots of one load: of both systems, or of the one that was measured.
func (t *table) charts(load string) []page.Chart {
	var names []string
	var reports [][]bench.Report
	for _, system := range []string{ours, theirs} {
		if r := t.reports[load][system]; len(r) > 0 && r[0].Trials == nil {
			names = append(names, system)
			reports = append(reports, r)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return bench.PlotSides(names, reports)
}

// thisMachine reads what Linux tells of it; what it does not tell stays empty.
func thisMachine() machine {
	return machine{
		CPUs: runtime.NumCPU(), CPU: field("/proc/cpuinfo", "model name"), Memory: gibibytes(field("/proc/meminfo", "MemTotal")),
		Kernel: firstLine("/proc/sys/kernel/ostype") + " " + firstLine("/proc/sys/kernel/osrelease"), Go: runtime.Version(),
	}
}

// gibibytes writes what /proc says in kB.
func gibibytes(kB string) string {
	var n float64
	if _, err := fmt.Sscanf(kB, "%f kB", &n); err != nil {
		return kB
	}
	return fmt.Sprintf("%.1f GiB", n/(1<<20))
}

// field is the value of the first line of file that starts with name and a colon.
func field(file, name string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	for l := range strings.Lines(string(text)) {
		if key, value, found := strings.Cut(l, ":"); found && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func firstLine(file string) string {
	text, err := os.ReadFile(file)
	if err != nil {
		return ""
	}
	line, _, _ := strings.Cut(string(text), "\n")
	return line
}
