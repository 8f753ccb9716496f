package migrate

import (
	"errors"
	"io"
	"log/slog"
	"strings"
	"syscall"
	"testing"

	"github.com/ctlplane/ctlplane/raftstore"
)

// TestFollowCompacted: what was compacted away before it was copied is not passed over.
func TestFollowCompacted(t *testing.T) {
	from := startEtcd(t, "http")
	compacted := fill(t, connect(t, from))
	s, err := Dial(source(from))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got, err := s.compacted(t.Context()); err != nil || got != compacted {
		t.Errorf("compacted at %d, %v; want %d", got, err, compacted)
	}
	logger := slog.New(slog.NewTextHandler(io.Discard, nil))
	err = s.follow(t.Context(), compacted-1, false, logger, func(r revision) error {
		t.Errorf("revision %d was told", r.number)
		return errors.New("enough")
	})
	if !errors.Is(err, errCompactedAway) {
		t.Errorf("the watch ended by: %v", err)
	}
}

// TestCutOverGivenUp: a step that can't be taken lets the calls go on, and can be tried again.
func TestCutOverGivenUp(t *testing.T) {
	from := startEtcd(t, "http")
	old := connect(t, from)
	fill(t, old)
	s, err := Dial(source(from))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	target := newMember(t, "http")
	m := &migration{config: Config{From: source(from), Master: target.config}, source: s, logger: target.config.Logger}
	m.front = &front{router: newRouter(s.bare.ActiveConnection())}
	if m.copy, err = raftstore.NewLiveCopy(target.dir, m.logger); err != nil {
		t.Fatal(err)
	}
	defer m.copy.Close()
	if err := m.begin(t.Context()); err != nil {
		t.Fatal(err)
	}
	stuck := mustEnter(t, m.front.router, false)
	if _, err := m.cutOver(t.Context()); err == nil || isFinal(err) || !errorSays(err, "calls that are on their way") {
		t.Errorf("with a call that does not end: %v", err)
	}
	mustEnter(t, m.front.router, true).leave()
	stuck.leave()
	if note, err := raftstore.LoadMigrated(target.dir); note != nil || err != nil {
		t.Errorf("the directory says that it was migrated: %v, %v", note, err)
	}
	taken, err := m.cutOver(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if note, err := raftstore.LoadMigrated(target.dir); err != nil || note == nil || note.Revision != taken.moved.Revision {
		t.Errorf("the directory says %v, %v; moved at %d", note, err, taken.moved.Revision)
	}
}

// TestOldEtcdDoesNotAnswer: the status stayed as it had been, ready for the step, and the step failed with a deadline of nothing.
func TestOldEtcdDoesNotAnswer(t *testing.T) {
	url, process := startEtcdProcess(t, "http")
	m := newMember(t, "http")
	m.migrate(source(url))
	m.waitLevel()
	if err := process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	_, err := AskCutOver(t.Context(), m.dir)
	if err == nil || !strings.Contains(err.Error(), "no answer within 5s") || !strings.Contains(err.Error(), "the old etcd") {
		t.Errorf("the step without an etcd: %v", err)
	}
	eventually(t, "the status tells of it", func() bool {
		s, err := AskStatus(t.Context(), m.dir)
		return err == nil && s.Phase == Following && !s.Ready && strings.Contains(s.Error, "no answer within 5s")
	})
	if _, err := AskCutOver(t.Context(), m.dir); err == nil || !strings.Contains(err.Error(), "does not answer") {
		t.Errorf("the step once it is known: %v", err)
	}
	if err := process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	m.waitLevel()
	m.cutOver()
}
