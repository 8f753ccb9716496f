package bench

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// measured is a report as a run makes it, of n operations that took a millisecond more each.
func measured(n int) Report {
	r := &Run{workload: (&Writes{}).Describe(), main: newSeries("writes"), figures: map[string]float64{"fill_seconds": 2.5}, seconds: 2}
	r.Target, r.Clients, r.Connections = TargetLeader, 10, 2
	part := r.Series("<the first> & others")
	at := time.Unix(0, 0)
	for i := range n {
		r.main.add(i, at, at.Add(time.Duration(i+1)*time.Millisecond))
		part.add(i, at, at.Add(time.Millisecond))
	}
	r.points = []Point{{1, 100, 2, 5}, {2, 150, 2, 4}}
	r.errors = map[string]int64{"Unavailable: <gone>": 2}
	r.failed = 2
	return newReport(r)
}

func twoRounds(t *testing.T) Comparison {
	t.Helper()
	c := Comparison{Workload: "writes", Names: [2]string{"ctlplane", "etcd"}}
	for range 2 {
		a, b := measured(200), measured(100)
		a.Rate, b.Rate = 100, 50
		c.Rounds = append(c.Rounds, [2]Report{a, b})
	}
	c.Ratios = c.ratios()
	return c
}

// TestPageIsWellFormedAndNeedsNoNetwork parses the page as XML, strictly, and looks for anything that would be fetched.
func TestPageIsWellFormedAndNeedsNoNetwork(t *testing.T) {
	report, comparison := measured(1000), twoRounds(t)
	var out bytes.Buffer
	if err := WriteHTML(&out, []Result{{Report: &report}, {Comparison: &comparison}}); err != nil {
		t.Fatal(err)
	}
	if keep := os.Getenv("BENCH_PAGE"); keep != "" { // to look at it
		if err := os.WriteFile(keep, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	page := out.String()
	decoder := xml.NewDecoder(strings.NewReader(page))
	elements := map[string]int{}
	for {
		token, err := decoder.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("the page is not well-formed: %v", err)
		}
		start, ok := token.(xml.StartElement)
		if !ok {
			continue
		}
		elements[start.Name.Local]++
		for _, a := range start.Attr {
			if a.Name.Local == "src" || a.Name.Local == "href" {
				t.Errorf("<%s %s=%q> is fetched", start.Name.Local, a.Name.Local, a.Value)
			}
		}
	}
	for name, want := range map[string]int{"svg": 7, "script": 0, "link": 0, "img": 0, "section": 2} {
		if elements[name] != want {
			t.Errorf("%d <%s>, want %d", elements[name], name, want)
		}
	}
	if found := regexp.MustCompile(`@import|url\(`).FindString(page); found != "" {
		t.Errorf("the style fetches something: %s", found)
	}
	for _, want := range []string{"&lt;the first&gt; &amp; others", "2.00 ×", "99th percentile"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func TestReportAsJSON(t *testing.T) {
	text, err := json.Marshal(measured(100))
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		WritesPerSecond float64 `json:"writes_per_second"`
		Writes, Errors  int
		Latency         map[string]float64 `json:"latency_ms"`
		Series          []map[string]any
		Timeline        []map[string]float64
		Distribution    []Percentile
	}
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatal(err)
	}
	if report.WritesPerSecond != 50 || report.Writes != 100 || report.Errors != 2 || len(report.Series) != 1 || len(report.Timeline) != 2 {
		t.Errorf("%s", text)
	}
	for name, want := range map[string]float64{"p50": 50, "p90": 90, "p99": 99, "p999": 100, "max": 100} {
		if got := report.Latency[name]; got < want*0.999 || got > want*1.001 {
			t.Errorf("%s is %f ms, want %f", name, got, want)
		}
	}
	last := report.Distribution[len(report.Distribution)-2]
	if last.Percent != 99 { // of a hundred operations nothing finer is known
		t.Errorf("the finest percentile of 100 operations is %v", last.Percent)
	}
}

func TestReportAsText(t *testing.T) {
	var out strings.Builder
	if err := measured(100).WriteText(&out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"50 writes/s   100 writes in 2.0 s, 2 errors", "p50 50.0 ms", "2 × Unavailable: <gone>", "fill_seconds 2.5", "≤   100 ms"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
}
