package main

import (
	_ "embed"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

//go:embed inapplicable.txt
var inapplicableFile string

// inapplicable is the tests that can't pass on ctlplane: their reasons by package and name, "e2e TestGateway" for a
// whole test, "e2e TestGateway/name" for a part of it.
type inapplicable map[string]string

// readInapplicable reads lines that are a reason, each with the tests that it is for in indented lines below it.
func readInapplicable(text string) (inapplicable, error) {
	list, reason := inapplicable{}, ""
	for i, line := range strings.Split(text, "\n") {
		name := strings.TrimSpace(line)
		switch {
		case name == "" || name[0] == '#':
		case name == strings.TrimRight(line, " "):
			reason = name
		case reason == "" || strings.Count(name, " ") != 1 || !slices.Contains(packages, name[:strings.Index(name, " ")]):
			return nil, fmt.Errorf("inapplicable.txt:%d: want a reason, and below it, indented, a package and a test: %q", i+1, line)
		case list[name] != "":
			return nil, fmt.Errorf("inapplicable.txt:%d: %s is there twice", i+1, name)
		default:
			list[name] = reason
		}
	}
	return list, nil
}

// of says why a whole test is not applicable, or else which of its parts are not.
func (l inapplicable) of(t test) (reason string, skip []string) {
	whole := t.pkg + " " + t.name
	for name := range l {
		if part, ok := strings.CutPrefix(name, whole+"/"); ok {
			skip = append(skip, part)
		}
	}
	slices.Sort(skip)
	return l[whole], skip
}

// check finds names in the list that no test has.
func (l inapplicable) check(pkg string, tests []string) error {
	for name := range l {
		p, rest, _ := strings.Cut(name, " ")
		top, _, _ := strings.Cut(rest, "/")
		if p == pkg && !slices.Contains(tests, top) {
			return fmt.Errorf("inapplicable.txt: package %s has no test %s", p, top)
		}
	}
	return nil
}

// skipPattern is the pattern of `go test -skip` for parts of one test.
func skipPattern(test string, parts []string) string {
	patterns := make([]string, 0, len(parts))
	for _, part := range parts {
		elements := []string{"^" + test + "$"}
		for _, element := range strings.Split(part, "/") {
			elements = append(elements, "^"+regexp.QuoteMeta(element)+"$")
		}
		patterns = append(patterns, strings.Join(elements, "/"))
	}
	return strings.Join(patterns, "|")
}
