package main

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestReadInapplicable(t *testing.T) {
	list, err := readInapplicable("# comment\nno proxy\n  e2e TestProxy\n\n  e2e TestWhole/a_(part)/b\n  e2e TestWhole/c\n")
	if err != nil {
		t.Fatal(err)
	}
	if reason, skip := list.of(test{pkg: "e2e", name: "TestProxy"}); reason != "no proxy" || skip != nil {
		t.Errorf("%q, %q", reason, skip)
	}
	reason, skip := list.of(test{pkg: "e2e", name: "TestWhole"})
	if reason != "" || !slices.Equal(skip, []string{"a_(part)/b", "c"}) {
		t.Errorf("%q, %q", reason, skip)
	}
	if reason, skip := list.of(test{pkg: "common", name: "TestProxy"}); reason != "" || skip != nil {
		t.Errorf("of the other package: %q, %q", reason, skip)
	}
	if err := list.check("e2e", []string{"TestProxy"}); err == nil || !strings.Contains(err.Error(), "TestWhole") {
		t.Errorf("a test that is not there: %v", err)
	}
	for name, text := range map[string]string{
		"no reason": "  e2e TestA\n", "no package": "why\n  TestA\n", "an unknown package": "why\n  robustness TestA\n",
		"twice": "why\n  e2e TestA\nalso\n  e2e TestA\n",
	} {
		if _, err := readInapplicable(text); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestInapplicableFile: the list in the repository can be read, and each reason in it has tests.
func TestInapplicableFile(t *testing.T) {
	list, err := readInapplicable(inapplicableFile)
	if err != nil {
		t.Fatal(err)
	}
	used := map[string]bool{}
	for _, reason := range list {
		used[reason] = true
	}
	for line := range strings.Lines(inapplicableFile) {
		line = strings.TrimRight(line, " \n")
		if line != "" && line[0] != '#' && line[0] != ' ' && !used[line] {
			t.Errorf("no test has the reason %q", line)
		}
	}
}

func TestSkipPattern(t *testing.T) {
	pattern := skipPattern("TestA", []string{"a_(part)/b", "c"})
	if want := `^TestA$/^a_\(part\)$/^b$|^TestA$/^c$`; pattern != want {
		t.Errorf("%s, want %s", pattern, want)
	}
	for _, element := range strings.FieldsFunc(pattern, func(r rune) bool { return r == '/' || r == '|' }) {
		if _, err := regexp.Compile(element); err != nil {
			t.Error(err)
		}
	}
}
