package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/ctlplane/ctlplane/bench"
)

func TestTableHasMediansAndRatios(t *testing.T) {
	var all []measured
	for round, rate := range []float64{100, 900, 200} {
		all = append(all,
			measured{"etcd", "100 clients", round + 1, bench.Report{WritesPerSecond: rate, Latency: bench.Latency{P50: 2, P99: 8}}},
			measured{"ctlplane", "100 clients", round + 1, bench.Report{WritesPerSecond: 2 * rate, Latency: bench.Latency{P50: 1, P99: 2}}})
	}
	all[0].Report.Errors = 3
	var out bytes.Buffer
	if err := writeTable(&out, all); err != nil {
		t.Fatal(err)
	}
	row := ""
	for line := range strings.Lines(out.String()) {
		if strings.Contains(line, "100 clients") && row == "" {
			row = strings.Join(strings.Fields(line), " ")
		}
	}
	if want := "100 clients 200/s 400/s 2.00 × 2.00 ms 1.00 ms 0.50 × 8.00 ms 2.00 ms 0.25 ×"; row != want {
		t.Errorf("row %q, want %q", row, want)
	}
	if !strings.Contains(out.String(), "errors: 3 in round 1 of etcd") {
		t.Errorf("errors are not named:\n%s", out.String())
	}
}

func TestClusterIsStoppedAndRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cluster")
	stubborn := system{name: "stubborn", binary: "sleep", args: func(member, []member) []string { return []string{"600"} }}
	c, err := startCluster(t.Context(), stubborn, dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(c.endpoints) != members || len(c.processes) != members {
		t.Errorf("%d endpoints, %d processes", len(c.endpoints), len(c.processes))
	}
	c.stop()
	for _, p := range c.processes {
		if err := syscall.Kill(p.Process.Pid, 0); err == nil {
			t.Errorf("process %d still runs", p.Process.Pid)
		}
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("its data is still there: %v", err)
	}
	missing := system{name: "missing", binary: filepath.Join(dir, "nothing"), args: stubborn.args}
	if _, err := startCluster(t.Context(), missing, dir); err == nil {
		t.Error("a binary that isn't there was started")
	}
}
