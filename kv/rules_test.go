package kv

import (
	"errors"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func memberSet(id uint64, rules Rules) Command {
	return Command{Member: &MemberUpdate{Operation: MemberSet, Member: Member{ID: id, Name: "m", Rules: rules}}}
}

// TestRulesAreRaisedWhenAllMembersKnowThem, and then stay, whatever members come and whoever forgets.
func TestRulesAreRaisedWhenAllMembersKnowThem(t *testing.T) {
	options := Options{FS: vfs.NewMem(), Rules: 3}
	s := open(t, options)
	remove := Command{Member: &MemberUpdate{Operation: MemberRemove, Member: Member{ID: 2}}}
	group := []uint64{1}
	if got := s.Rules(append(group, 3)); got != 0 {
		t.Errorf("before anybody has said anything: rules %d", got)
	}
	for i, step := range []struct {
		command Command
		want    Rules
	}{
		{memberSet(1, 2), 2},
		{memberSet(2, 0), 0}, // as an older release's
		{memberSet(2, 1), 1},
		{remove, 2},
		{memberSet(1, 4), 3}, // more than this member knows
		{memberSet(1, 2), 2},
	} {
		apply(t, s, step.command)
		if got := s.Rules(group); got != step.want {
			t.Errorf("step %d: rules %d, want %d", i, got, step.want)
		}
	}
	if got := s.Rules(append(group, 3)); got != 0 {
		t.Errorf("while a member of the group has said nothing: rules %d", got)
	}
	if _, err := s.Apply([]Entry{{Index: s.AppliedIndex() + 1, Term: 1, Rules: 2, Commands: []Command{put("a", "")}}}); err != nil {
		t.Fatal(err)
	}
	apply(t, s, memberSet(3, 0))
	if got := s.Rules(group); got != 2 {
		t.Errorf("after a member of an older release has come: rules %d", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = open(t, options)
	if got := s.Rules(group); got != 2 {
		t.Errorf("after a restart: rules %d", got)
	}
	if got := s.Members()[0].Rules; got != 2 {
		t.Errorf("after a restart the record says %d", got)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	options.Rules = 1
	options.Dir = "db"
	if _, err := Open(options); !errors.Is(err, ErrFormat) || !strings.Contains(err.Error(), "use the release that wrote it") {
		t.Errorf("a release that knows less: %v", err)
	}
}

// TestEntriesOfUnknownRulesAreNotApplied: the member ends, and says why.
func TestEntriesOfUnknownRulesAreNotApplied(t *testing.T) {
	s := open(t, Options{Rules: 1})
	entries := []Entry{{Index: 1, Term: 1, Rules: 1, Commands: []Command{put("a", "")}}, {Index: 2, Term: 1, Rules: 2, Commands: []Command{put("a", "")}}}
	for range 2 {
		if _, err := s.Apply(entries); err == nil || !strings.Contains(err.Error(), "give this member the release of the others") {
			t.Errorf("applied: %v", err)
		}
		entries = entries[:1] // nor is anything after it
	}
	if s.AppliedIndex() != 0 || s.Revision() != 1 {
		t.Errorf("entry %d is applied, revision %d", s.AppliedIndex(), s.Revision())
	}
}
