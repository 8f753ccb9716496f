package e2e

import (
	"cmp"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// linesOfAProcess bounds the log of a process in these tests, whatever happens to it.
const linesOfAProcess = 1000

// disasters are words that no log may have.
var disasters = []string{"WARNING: DATA RACE", "fatal error:", "panic:", "that a cache or an informer holds were changed"}

var messageOf = regexp.MustCompile(`^time=\S+ level=(\S+) msg=("(?:[^"\\]|\\.)*"|\S+)`)

// checkLog counts a process's lines by message, and fails the test when they are too many or tell of a disaster.
func checkLog(t *testing.T, path string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := string(content)
	for _, disaster := range disasters {
		if at := strings.Index(text, disaster); at >= 0 {
			t.Errorf("%s:\n%s", filepath.Base(path), text[at:min(len(text), at+6000)])
		}
	}
	counts := map[string]int{}
	lines := 0
	for line := range strings.Lines(text) {
		lines++
		message := "(not a line of the log)"
		if found := messageOf.FindStringSubmatch(line); found != nil {
			message = found[1] + " " + found[2]
		}
		counts[message]++
	}
	t.Logf("%s has %d lines", filepath.Base(path), lines)
	messages := slices.SortedFunc(maps.Keys(counts), func(a, b string) int { return cmp.Compare(counts[b], counts[a]) })
	for _, message := range messages[:min(len(messages), 12)] {
		t.Logf("%6d %s", counts[message], message)
	}
	if lines > linesOfAProcess {
		t.Errorf("%s has %d lines, want %d at most", filepath.Base(path), lines, linesOfAProcess)
	}
}
