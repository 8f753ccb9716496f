package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ctlplane/ctlplane/bench"
)

// filled is a table with three rounds of a load, and figures of other kinds.
func filled() *table {
	t := newTable()
	puts := row{name: "puts", unit: perSecond, target: 1.8}
	only := row{name: "pipelined", unit: perSecond, target: 60_000, absolute: true}
	t.declare(puts)
	t.declare(only)
	for _, rates := range [][2]float64{{100, 200}, {900, 1500}, {200, 600}} {
		t.add(puts, theirs, rates[0])
		t.add(puts, ours, rates[1])
		t.report(puts.name, theirs, bench.Report{Unit: "writes", Rate: rates[0], Errors: 3})
		t.report(puts.name, ours, bench.Report{Unit: "writes", Rate: rates[1]})
	}
	t.add(only, ours, 59_000)
	wait := row{name: "fail-over", unit: millis, less: true, target: 0.5}
	t.add(wait, theirs, 1600)
	t.add(wait, ours, 20)
	t.add(row{name: "memory", unit: megabytes, less: true}, ours, 1234)
	return t
}

func TestTableHoldsRatiosAgainstTargets(t *testing.T) {
	var out bytes.Buffer
	if err := filled().writeText(&out); err != nil {
		t.Fatal(err)
	}
	var lines []string
	for l := range strings.Lines(out.String()) {
		lines = append(lines, strings.Join(strings.Fields(l), " "))
	}
	for i, want := range []string{
		"etcd ctlplane ratio spread target",
		"puts 200/s 600/s 2.00 × 1.67–3.00 ≥ 1.8 × met",
		"pipelined – 59,000/s – – ≥ 60,000/s missed",
		"fail-over 1600 ms 20.00 ms 0.01 × 0.01–0.01 ≤ 0.5 × met",
		"memory – 1,234 MB – – –",
	} {
		if lines[i] != want {
			t.Errorf("line %d is %q, want %q", i, lines[i], want)
		}
	}
	if !strings.Contains(out.String(), "errors: 3 in round 2 of etcd, puts") {
		t.Errorf("errors are not named:\n%s", out.String())
	}
}

func TestUnequalRoundsHaveNoRatio(t *testing.T) {
	if got := ratio([]float64{1, 2}, []float64{1}); got != nil {
		t.Errorf("%v", got)
	}
	if got := ratio([]float64{1}, []float64{0}); got != nil {
		t.Errorf("%v", got)
	}
}

func TestResultsAreSaved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "results")
	var said bytes.Buffer
	if err := filled().save(dir, "bench", &said); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "bench.json"))
	if err != nil {
		t.Fatal(err)
	}
	var r results
	if err := json.Unmarshal(text, &r); err != nil || len(r.Table) != 4 || r.Machine.CPUs == 0 || len(r.Reports["puts"][theirs]) != 3 {
		t.Errorf("%v: %s", err, text)
	}
	html, err := os.ReadFile(filepath.Join(dir, "bench.html"))
	if err != nil || !bytes.Contains(html, []byte("fail-over")) || !bytes.Contains(html, []byte("<svg")) {
		t.Errorf("%v: %s", err, html)
	}
	if !strings.Contains(said.String(), dir) {
		t.Errorf("it does not say where: %s", said.String())
	}
}

func TestStagesToChoose(t *testing.T) {
	for only, want := range map[string]int{"": 4, "loads": 1, "failover": 1, "restart": 1, "compaction": 1} {
		c := comparison{only: only}
		if stages, err := c.stages(); err != nil || len(stages) != want {
			t.Errorf("%q: %d stages, %v", only, len(stages), err)
		}
	}
	if _, err := (&comparison{only: "nothing"}).stages(); err == nil {
		t.Error("an unknown stage was accepted")
	}
	large := comparison{large: true, quick: true, rounds: 2}
	if stages, err := large.stages(); err != nil || len(stages) != 1 || stages[0].name != "200,000 keys" {
		t.Errorf("%v, %v", stages, err)
	}
}

// TestRoundsOfStages keeps what varies from run to run from being judged by one of them.
func TestRoundsOfStages(t *testing.T) {
	stages, err := (&comparison{rounds: 5}).stages()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]int{"loads": 5, "compaction": 5, "failover": 1, "restart": 1} // the latter have trials of their own
	for _, s := range stages {
		if s.rounds != want[s.name] {
			t.Errorf("%s has %d rounds", s.name, s.rounds)
		}
	}
}

// TestRowsHaveNamesOfTheirOwn keeps two rows from being taken for one.
func TestRowsHaveNamesOfTheirOwn(t *testing.T) {
	seen := map[string]bool{failoverRow.name: true, beforeRow.name: true, afterRow.name: true}
	for _, l := range loads {
		for _, r := range l.rows {
			if seen[r.row.name] {
				t.Errorf("two rows are called %q", r.row.name)
			}
			seen[r.row.name] = true
		}
	}
}
