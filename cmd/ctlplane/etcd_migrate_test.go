package main

import (
	"slices"
	"strings"
	"testing"
)

// TestMigrateFlags: the migration's own flags are taken out of etcd's, in whatever spelling and order.
func TestMigrateFlags(t *testing.T) {
	var f migrateFlags
	set := f.set()
	ours, rest := split(set, strings.Fields("-name from --from https://a:1,https://b:1 --data-dir=d -cert c.pem --key=k.pem --cert-file s.pem --dry-run --user root:x --logger zap --cut-over"))
	if err := set.Parse(ours); err != nil {
		t.Fatal(err)
	}
	if want := strings.Fields("-name from --data-dir=d --cert-file s.pem --logger zap"); !slices.Equal(rest, want) {
		t.Errorf("etcd's flags %q, want %q", rest, want)
	}
	if !slices.Equal(f.from, []string{"https://a:1", "https://b:1"}) || f.cert != "c.pem" || f.key != "k.pem" || !f.dryRun || !f.cutOver || f.user != "root:x" || f.help {
		t.Errorf("flags %+v", f)
	}
	for args, failure := range map[string]string{
		"":                              "--from URL",
		"--from https://a:1,http://b:1": "all URLs must be https",
	} {
		var f migrateFlags
		set := f.set()
		if err := set.Parse(strings.Fields(args)); err != nil {
			t.Fatal(err)
		}
		if _, err := f.source(); err == nil || !strings.Contains(err.Error(), failure) {
			t.Errorf("%q: %v", args, err)
		}
	}
}
