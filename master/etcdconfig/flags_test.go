package etcdconfig

import (
	"bufio"
	"os"
	"slices"
	"strings"
	"testing"
)

// etcdFlags are etcd's own flags with their defaults, from testdata, which says where they are from.
func etcdFlags(t *testing.T) map[string]string {
	t.Helper()
	return flagList(t, "testdata/etcd-v3.7.3-flags.txt", 100)
}

// flagList reads names and, after a tab, values.
func flagList(t *testing.T, path string, atLeast int) map[string]string {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	flags := map[string]string{}
	for scanner := bufio.NewScanner(file); scanner.Scan(); {
		if line := scanner.Text(); line != "" && !strings.HasPrefix(line, "#") {
			name, value, _ := strings.Cut(line, "\t")
			flags[name] = value
		}
	}
	if len(flags) < atLeast {
		t.Fatalf("only %d flags were read", len(flags))
	}
	return flags
}

func TestEveryFlagOfEtcdIsKnown(t *testing.T) {
	table := newTable(&Settings{})
	theirs := etcdFlags(t)
	for name, value := range theirs {
		own := table.set.Lookup(name)
		if own == nil {
			t.Errorf("--%s is missing", name)
			continue
		}
		if own.DefValue != value && name != "initial-cluster" { // which is made of other flags
			t.Errorf("--%s is %q by default, etcd's is %q", name, own.DefValue, value)
		}
	}
	former := flagList(t, "testdata/etcd-v3.5-v3.6-dropped-flags.txt", 30)
	for _, option := range table.options {
		_, now := theirs[option.name]
		if _, before := former[option.name]; now == before || before != option.former {
			t.Errorf("--%s is none of etcd's, or not of the versions that it is said to be of", option.name)
		}
	}
	if count := len(slices.Compact(slices.Sorted(slices.Values(table.names())))); count != len(table.options) {
		t.Error("a flag is declared twice")
	}
}

func TestEveryFlagIsExplained(t *testing.T) {
	for _, option := range newTable(&Settings{}).options {
		if option.usage == "" && option.idle == "" && option.refused == "" && !option.former {
			t.Errorf("--%s says neither what it does nor why it does nothing", option.name)
		}
	}
	var text strings.Builder
	if err := Usage(&text); err != nil {
		t.Fatal(err)
	}
	for _, name := range newTable(&Settings{}).names() {
		if !strings.Contains(text.String(), "--"+name) {
			t.Errorf("--help doesn't name --%s", name)
		}
	}
}

func TestNearestName(t *testing.T) {
	names := newTable(&Settings{}).names()
	for typed, want := range map[string]string{
		"datadir": "data-dir", "listen-client-url": "listen-client-urls", "peer-trusted-ca": "peer-trusted-ca-file",
		"experimental-max-learner": "experimental-max-learners", "no-such-thing-at-all": "", "": "v",
	} {
		if got := nearest(typed, names); got != want {
			t.Errorf("%q: %q, want %q", typed, got, want)
		}
	}
}
