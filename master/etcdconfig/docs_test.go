package etcdconfig

import (
	"os"
	"strings"
	"testing"

	etcdversion "go.etcd.io/etcd/api/v3/version"
)

// TestEveryFlagIsDecided holds docs/etcd.md to the flags: each has its place in the table of those that are treated as it is. A new
// flag of etcd fails TestEveryFlagOfEtcdIsKnown first, whose list is of the version that the project depends on.
func TestEveryFlagIsDecided(t *testing.T) {
	content, err := os.ReadFile("../../docs/etcd.md")
	if err != nil {
		t.Fatal(err)
	}
	_, flags, found := strings.Cut(string(content), "\n## Flags\n")
	flags, _, ends := strings.Cut(flags, "\n## ")
	if !found || !ends {
		t.Fatal("docs/etcd.md has no section of flags")
	}
	sections := map[string]string{}
	for _, section := range strings.Split(flags, "\n### ")[1:] {
		title, tables, _ := strings.Cut(section, "\n")
		for line := range strings.Lines(tables) {
			if cells := strings.Split(line, "|"); len(cells) == 4 {
				sections[title] += cells[1] // what the row is about
			}
		}
	}
	options := newTable(&Settings{}).options
	for _, option := range options {
		want := "Honoured"
		switch {
		case option.former:
			want = "Of etcd 3.5 and 3.6"
		case option.idle != "":
			want = "Taken with a warning"
		}
		for title, names := range sections {
			if is := strings.Contains(names, "`--"+option.name+"`"); is != (title == want) {
				t.Errorf("--%s belongs to %q of docs/etcd.md: in %q %v", option.name, want, title, is)
			}
		}
	}
	if named := strings.Count(strings.Join([]string{sections["Honoured"], sections["Taken with a warning"], sections["Of etcd 3.5 and 3.6"]}, ""), "`--"); named != len(options) {
		t.Errorf("docs/etcd.md decides over %d flags, and there are %d", named, len(options))
	}
}

func TestFlagListIsOfOurVersionOfEtcd(t *testing.T) {
	if _, err := os.Stat("testdata/etcd-v" + etcdversion.Version + "-flags.txt"); err != nil {
		t.Errorf("the project depends on etcd %s: make the list of that version's flags: %v", etcdversion.Version, err)
	}
}
