package main

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestOutcome(t *testing.T) {
	ended := errors.New("exit status 1")
	for name, c := range map[string]struct {
		output   string
		ended    error
		failures []string
		skipped  bool
	}{
		"passed": {output: mark + "--- PASS: TestA (0.1s)\n"},
		"a part failed": {
			output:   mark + "--- FAIL: TestA (0.1s)\n" + mark + "    --- PASS: TestA/one (0.0s)\n" + mark + "    --- FAIL: TestA/two (0.0s)\n",
			ended:    ended,
			failures: []string{"TestA/two"},
		},
		"failed as a whole":        {output: mark + "--- FAIL: TestA (0.1s)\n", ended: ended, failures: []string{"TestA"}},
		"ended without a word":     {output: mark + "--- PASS: TestA (0.1s)\nLeaked goroutine\n", ended: ended, failures: []string{"TestA (exit status 1)"}},
		"time was up":              {output: "panic: test timed out after 5m0s\n", ended: ended, failures: []string{"TestA (exit status 1)"}},
		"behind unfinished output": {output: "half a line" + mark + "--- FAIL: TestA (0.1s)\n", ended: ended, failures: []string{"TestA"}},
		"a server's line":          {output: "--- FAIL: TestA (0.1s)\n" + mark + "--- PASS: TestA (0.1s)\n"},
		"skipped":                  {output: mark + "--- SKIP: TestA (0.1s)\n", skipped: true},
		"a part skipped":           {output: mark + "--- PASS: TestA (0.1s)\n" + mark + "    --- SKIP: TestA/one (0.1s)\n"},
	} {
		got := outcome(test{pkg: "e2e", name: "TestA"}, []byte(c.output), c.ended, time.Second)
		if !slices.Equal(got.failures, c.failures) || got.skipped != c.skipped {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestReport(t *testing.T) {
	var out strings.Builder
	r := &report{out: &out, inapplicable: 4}
	r.add(result{test: test{pkg: "e2e", name: "TestA"}, took: time.Second})
	r.add(result{test: test{pkg: "e2e", name: "TestB"}, failures: []string{"TestB/one", "TestB/two"}})
	r.add(result{test: test{pkg: "common", name: "TestC"}, skipped: true})
	r.finish("logs")
	for _, want := range []string{
		"ok      1.0s  e2e.TestA", "FAIL    0.0s  e2e.TestB", "  e2e.TestB/two\n", "  common.TestC\n",
		"1 passed, 1 failed, 1 skipped themselves, 4 are not applicable",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in:\n%s", want, out.String())
		}
	}
	if !r.failing() {
		t.Error("the run counts as passed")
	}
}
