package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// result is how a test ended.
type result struct {
	test
	took time.Duration
	// failures are the parts that failed, or the test itself where that is not said of a part.
	failures []string
	// skipped says that the test itself found that it can't run here.
	skipped bool
}

// The mark that `-test.v=test2json` puts before a line that is the test framework's own.
const mark = "\x16"

// outcome reads what a test has printed. Its process can fail without a word about the test: after a time that is
// up, a panic, or goroutines that were left.
func outcome(t test, output []byte, ended error, took time.Duration) result {
	r := result{test: t, took: took}
	var failed []string
	for line := range strings.Lines(string(output)) {
		_, own, _ := strings.Cut(line, mark)
		fields := strings.Fields(own)
		if len(fields) < 3 || fields[0] != "---" {
			continue
		}
		switch fields[1] {
		case "FAIL:":
			failed = append(failed, fields[2])
		case "SKIP:":
			r.skipped = r.skipped || fields[2] == t.name
		}
	}
	for _, name := range failed {
		if !slices.ContainsFunc(failed, func(other string) bool { return strings.HasPrefix(other, name+"/") }) {
			r.failures = append(r.failures, name)
		}
	}
	if ended != nil && len(failed) == 0 {
		r.failures = []string{fmt.Sprintf("%s (%v)", t.name, ended)}
	}
	return r
}

// report tells of the results as they come, and of all of them at the end.
type report struct {
	out                          io.Writer
	passed, failed, inapplicable int
	skipped, failures            []string
	took                         time.Duration
}

func (r *report) add(one result) {
	state := "ok  "
	switch {
	case len(one.failures) > 0:
		state = "FAIL"
		r.failed++
		for _, name := range one.failures {
			r.failures = append(r.failures, one.pkg+"."+name)
		}
	case one.skipped:
		state = "skip"
		r.skipped = append(r.skipped, one.String())
	default:
		r.passed++
	}
	r.took += one.took
	fmt.Fprintf(r.out, "%s %6.1fs  %s\n", state, one.took.Seconds(), one.test)
}

func (r *report) failing() bool { return r.failed > 0 }

func (r *report) finish(logs string) {
	r.names("skipped themselves", r.skipped)
	r.names("failed, logs in "+logs, r.failures)
	fmt.Fprintf(r.out, "\n%d passed, %d failed, %d skipped themselves, %d are not applicable (test/etcd/inapplicable.txt); %v\n",
		r.passed, r.failed, len(r.skipped), r.inapplicable, r.took.Round(time.Second))
}

func (r *report) names(title string, names []string) {
	if len(names) > 0 {
		fmt.Fprintf(r.out, "\n%s:\n  %s\n", title, strings.Join(names, "\n  "))
	}
}
